CREATE SCHEMA llmspell;
CREATE TABLE llmspell.members (
  member_id UUID PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  name VARCHAR(80) NOT NULL UNIQUE,
  since TIMESTAMPTZ NOT NULL,
  settings JSONB
);
CREATE TABLE llmspell.books (
  isbn TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  pages INTEGER,
  lendable BOOLEAN NOT NULL,
  cover BYTEA,
  subjects TEXT[] NOT NULL
);
CREATE TABLE llmspell.loans (
  loan_id BIGINT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  member_id UUID NOT NULL REFERENCES llmspell.members (member_id),
  isbn TEXT NOT NULL REFERENCES llmspell.books (isbn),
  due TIMESTAMPTZ
);
