CREATE TABLE members (
  member_id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL UNIQUE,
  since INTEGER NOT NULL,
  since_us INTEGER,
  settings TEXT
);
CREATE TABLE books (
  isbn TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  pages INTEGER,
  lendable INTEGER NOT NULL,
  cover BLOB,
  subjects TEXT NOT NULL
);
CREATE TABLE loans (
  loan_id INTEGER PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  member_id TEXT NOT NULL REFERENCES members (member_id),
  isbn TEXT NOT NULL REFERENCES books (isbn),
  due INTEGER,
  due_us INTEGER
);
