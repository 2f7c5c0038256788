CREATE TABLE members (
  member_id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  since INTEGER NOT NULL,
  since_us INTEGER,
  settings TEXT
);
CREATE TABLE books (
  isbn TEXT PRIMARY KEY,
  pages INTEGER,
  lendable INTEGER NOT NULL,
  cover BLOB,
  subjects TEXT NOT NULL
);
CREATE TABLE loans (
  loan_id INTEGER PRIMARY KEY,
  member_id TEXT NOT NULL REFERENCES members (member_id),
  isbn TEXT NOT NULL REFERENCES books (isbn),
  due INTEGER,
  due_us INTEGER
);
