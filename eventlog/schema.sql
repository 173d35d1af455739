-- The log's own tables (FORMAT.md section 2). Persisted: any change is a new format version.

CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  head INTEGER NOT NULL,
  link BLOB NOT NULL CHECK (length(link) = 32),
  generation INTEGER NOT NULL,
  log_id BLOB NOT NULL CHECK (length(log_id) = 16),
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE thread (
  thread INTEGER PRIMARY KEY,
  thread_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE stream (
  stream INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  checkpoint_ns TEXT NOT NULL,
  UNIQUE (thread, checkpoint_ns)
) STRICT;

CREATE TABLE event (
  position INTEGER PRIMARY KEY,
  recorded_at INTEGER NOT NULL,
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 255),
  stream INTEGER,
  record BLOB NOT NULL,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  link BLOB NOT NULL CHECK (length(link) = 32)
) STRICT;

CREATE INDEX event_stream ON event (stream);

CREATE TABLE erased (
  position INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL CHECK (kind IN (1, 2, 6, 7, 9, 11, 12)),
  inner BLOB NOT NULL CHECK (length(inner) = 32)
) STRICT;

CREATE TABLE projection (
  name TEXT PRIMARY KEY,
  schema_version INTEGER NOT NULL,
  progress INTEGER
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_only_appends BEFORE INSERT ON event
WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM event)
BEGIN SELECT RAISE(ABORT, 'an event can only be appended, at the position after the newest'); END;

CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'an event never changes'); END;

CREATE TRIGGER event_only_erased BEFORE DELETE ON event
WHEN OLD.kind NOT IN (1, 2, 6, 7, 9, 11, 12)
  OR OLD.position = (SELECT max(position) FROM event)
  OR NOT EXISTS (SELECT 1 FROM erased WHERE position = OLD.position)
BEGIN SELECT RAISE(ABORT, 'an event can only be erased: of a kind that may be, not the newest, with its stub in place'); END;

-- REPLACE deletes without a trigger unless recursive_triggers is on, which other programs do not set: hence the checks on INSERT.
CREATE TRIGGER erased_only_stubs BEFORE INSERT ON erased
WHEN EXISTS (SELECT 1 FROM erased WHERE position = NEW.position)
  OR NOT EXISTS (SELECT 1 FROM event WHERE position = NEW.position AND kind = NEW.kind AND kind IN (1, 2, 6, 7, 9, 11, 12))
  OR NEW.position >= (SELECT max(position) FROM event)
  OR typeof(NEW.inner) <> 'blob' OR length(NEW.inner) <> 32
BEGIN SELECT RAISE(ABORT, 'a stub is made once, from the event that it stands for'); END;

CREATE TRIGGER erased_never_changes BEFORE UPDATE ON erased
BEGIN SELECT RAISE(ABORT, 'the stub of an erased event never changes'); END;

CREATE TRIGGER erased_never_deleted BEFORE DELETE ON erased
BEGIN SELECT RAISE(ABORT, 'the stub of an erased event stays'); END;

CREATE TRIGGER thread_only_added BEFORE INSERT ON thread
WHEN EXISTS (SELECT 1 FROM thread WHERE thread = NEW.thread OR thread_id = NEW.thread_id)
BEGIN SELECT RAISE(ABORT, 'a thread is added once'); END;

CREATE TRIGGER thread_never_changes BEFORE UPDATE ON thread
BEGIN SELECT RAISE(ABORT, 'a thread never changes'); END;

CREATE TRIGGER thread_never_deleted BEFORE DELETE ON thread
BEGIN SELECT RAISE(ABORT, 'a thread stays'); END;

CREATE TRIGGER stream_only_added BEFORE INSERT ON stream
WHEN EXISTS (SELECT 1 FROM stream WHERE stream = NEW.stream)
  OR EXISTS (SELECT 1 FROM stream WHERE thread = NEW.thread AND checkpoint_ns = NEW.checkpoint_ns)
BEGIN SELECT RAISE(ABORT, 'a stream is added once'); END;

CREATE TRIGGER stream_never_changes BEFORE UPDATE ON stream
BEGIN SELECT RAISE(ABORT, 'a stream never changes'); END;

CREATE TRIGGER stream_never_deleted BEFORE DELETE ON stream
BEGIN SELECT RAISE(ABORT, 'a stream stays'); END;

CREATE TRIGGER meta_one_row BEFORE INSERT ON meta
WHEN EXISTS (SELECT 1 FROM meta)
BEGIN SELECT RAISE(ABORT, 'a log has one meta row'); END;

CREATE TRIGGER meta_frozen BEFORE UPDATE OF id, log_id, created_at ON meta
BEGIN SELECT RAISE(ABORT, 'the identity of a log never changes'); END;

CREATE TRIGGER meta_never_deleted BEFORE DELETE ON meta
BEGIN SELECT RAISE(ABORT, 'a log has one meta row'); END;
