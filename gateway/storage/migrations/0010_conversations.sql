-- What people can do with their sessions besides: stars, projects, names that the agent gives, summaries.

-- A starred session is not deleted. `project` is the name of the group that its owner has put it into. `title_by` says
-- who named it: 'person' or 'agent'; null is its first words.
ALTER TABLE sessions ADD COLUMN starred INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN project TEXT;
ALTER TABLE sessions ADD COLUMN title_by TEXT;
CREATE INDEX sessions_of_project ON sessions (owner, project) WHERE project IS NOT NULL;

-- `summary_id` is the message that stands for what was taken off, where that was summarised, and `since` when the oldest
-- of it was said. Such a cut is kept as long as its session.
ALTER TABLE cuts ADD COLUMN summary_id INTEGER;
ALTER TABLE cuts ADD COLUMN since INTEGER;
CREATE INDEX cuts_summarised ON cuts (since) WHERE summary_id IS NOT NULL;
