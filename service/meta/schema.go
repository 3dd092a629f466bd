package meta

// format is PRAGMA user_version. A database with a larger one is refused; one
// with a smaller one is migrated by steps[its version:] after a copy was made.
const format = 4

// application is PRAGMA application_id: "sgnt".
const application = 0x73676e74

// steps[n] turns format n into n+1.
//
// Positions of records are their log's number shifted left by 40 bits, plus
// the position in the log, so that a log's records lie together and are read
// in order without an index.
var steps = []string{`
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE logs (
	num INTEGER PRIMARY KEY,
	kind INTEGER NOT NULL,
	id BLOB NOT NULL,
	size INTEGER NOT NULL,
	time INTEGER NOT NULL,   -- of the newest leaf and checkpoint, ms
	tip BLOB NOT NULL,       -- newest checkpoint, full or not
	full BLOB NOT NULL,      -- newest full checkpoint
	UNIQUE (kind, id)
);
-- Leaves apart from the rest: every device replays all of them, and the tree
-- is rebuilt from them when the service starts.
CREATE TABLE leaves (pos INTEGER PRIMARY KEY, leaf BLOB NOT NULL);
CREATE TABLE records (pos INTEGER PRIMARY KEY, head BLOB NOT NULL, blob BLOB NOT NULL);
-- First half of SHA-256(log number, head): finds what is offered again.
CREATE TABLE heads (hash BLOB PRIMARY KEY, pos INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE objects (
	log INTEGER NOT NULL,
	id BLOB NOT NULL,
	pack INTEGER NOT NULL,
	off INTEGER NOT NULL,
	len INTEGER NOT NULL,
	entry INTEGER NOT NULL,  -- pinned by the entry at this position, plus one; 0: by none yet
	device INTEGER NOT NULL, -- who sent it, while entry is 0; 0: not known any more
	added INTEGER NOT NULL,  -- ms
	PRIMARY KEY (log, id)
) WITHOUT ROWID;
CREATE INDEX unpinned ON objects (device, len) WHERE entry = 0;
-- How far each pack is durable and indexed.
CREATE TABLE packs (pack INTEGER PRIMARY KEY, end INTEGER NOT NULL);
CREATE TABLE devices (num INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
-- Invitations that wait for whoever holds their key; claim is that key's hash.
CREATE TABLE invitations (claim BLOB PRIMARY KEY, bytes BLOB NOT NULL, expiry INTEGER NOT NULL) WITHOUT ROWID;
-- What is accepted once for ever.
CREATE TABLE claims (kind INTEGER NOT NULL, hash BLOB NOT NULL, holder BLOB NOT NULL, PRIMARY KEY (kind, hash)) WITHOUT ROWID;
CREATE TABLE sealed (owner BLOB NOT NULL, subject BLOB NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (owner, subject)) WITHOUT ROWID;
`, `
-- Of a pack's end, so many bytes are of records (72 bytes and the object) that rows
-- of objects point to; the rest is dead. An end of -1 is that of a pack which a
-- compaction makes: nothing in it counts yet.
ALTER TABLE packs ADD COLUMN live INTEGER NOT NULL DEFAULT 0;
INSERT INTO packs SELECT pack, 0, sum(len + 72) FROM objects WHERE true GROUP BY pack
	ON CONFLICT (pack) DO UPDATE SET live = excluded.live;
-- What no entry names goes in the order of its age.
DROP INDEX unpinned;
CREATE INDEX unpinned ON objects (added, device, len) WHERE entry = 0;
`, `
-- Bytes that a log is charged: of its records, and of the objects that they name.
ALTER TABLE logs ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE logs SET used = (SELECT coalesce(sum(len), 0) FROM objects WHERE log = num AND entry > 0)
	+ (SELECT coalesce(sum(length(leaf)), 0) FROM leaves WHERE pos >= num << 40 AND pos < (num + 1) << 40)
	+ (SELECT coalesce(sum(length(head) + length(blob)), 0) FROM records WHERE pos >= num << 40 AND pos < (num + 1) << 40);
`, `
-- Objects with a row whose bytes are gone: devices are told so, and may send them again.
CREATE TABLE lost (log INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (log, id)) WITHOUT ROWID;
`}
