CREATE TABLE IF NOT EXISTS llmspell.reminders (
  reminder_id UUID PRIMARY KEY,
  tenant_id VARCHAR(255) NOT NULL,
  session_id UUID NOT NULL,
  title VARCHAR(200) NOT NULL,
  urgency INTEGER NOT NULL CHECK (urgency >= 0),
  sequence BIGINT NOT NULL,
  status VARCHAR(20) NOT NULL CHECK (status IN ('open', 'done')),
  repeats BOOLEAN NOT NULL,
  due_at TIMESTAMPTZ NOT NULL,
  snoozed_until TIMESTAMPTZ,
  attachment BYTEA NOT NULL,
  details JSONB NOT NULL,
  notes JSONB,
  tags TEXT[],
  UNIQUE (tenant_id, title),
  FOREIGN KEY (tenant_id, session_id) REFERENCES llmspell.sessions (tenant_id, session_id) ON DELETE CASCADE
);
ALTER TABLE llmspell.reminders ENABLE ROW LEVEL SECURITY;
ALTER TABLE llmspell.reminders FORCE ROW LEVEL SECURITY;
