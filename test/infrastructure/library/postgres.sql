CREATE SCHEMA library;
CREATE TABLE library.members (
  member_id UUID PRIMARY KEY,
  name VARCHAR(80) NOT NULL UNIQUE,
  since TIMESTAMPTZ NOT NULL,
  settings JSONB
);
CREATE TABLE library.books (
  isbn TEXT PRIMARY KEY,
  pages INTEGER,
  lendable BOOLEAN NOT NULL,
  cover BYTEA,
  subjects TEXT[] NOT NULL
);
CREATE TABLE library.loans (
  loan_id BIGINT PRIMARY KEY,
  member_id UUID NOT NULL REFERENCES library.members (member_id),
  isbn TEXT NOT NULL REFERENCES library.books (isbn),
  due TIMESTAMPTZ
);
