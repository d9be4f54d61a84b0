BEGIN TRANSACTION;
CREATE TABLE accounts (
	name VARCHAR(100) NOT NULL, 
	publisher TEXT NOT NULL, 
	remote_user_id TEXT, 
	next_serial INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	stopped_reason TEXT, 
	stopped_at DATETIME, 
	not_before DATETIME, 
	last_sent_at DATETIME, 
	planned_until DATETIME, 
	lease_owner TEXT, 
	lease_expires_at DATETIME, 
	CONSTRAINT pk_accounts PRIMARY KEY (name)
);
INSERT INTO "accounts" VALUES('深夜の一杯 name 1','深夜の一杯 publisher 1','深夜の一杯 remote_user_id 1',1,'stopped','深夜の一杯 stopped_reason 1','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','深夜の一杯 lease_owner 1','2026-11-24 14:30:01.123456');
INSERT INTO "accounts" VALUES('深夜の一杯 name 2','深夜の一杯 publisher 2','深夜の一杯 remote_user_id 2',2,'stopped','深夜の一杯 stopped_reason 2','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','深夜の一杯 lease_owner 2','2026-11-24 14:30:02.123456');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	post_id INTEGER NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	outcome VARCHAR(16), 
	http_status INTEGER, 
	error TEXT, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT fk_attempts_post_id FOREIGN KEY(post_id) REFERENCES posts (id)
);
INSERT INTO "attempts" VALUES(1,1,'send','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','unclear',1,'深夜の一杯 error 1');
INSERT INTO "attempts" VALUES(2,2,'send','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','unclear',2,'深夜の一杯 error 2');
CREATE TABLE daemons (
	id VARCHAR(64) NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	version TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	stopped_at DATETIME, 
	CONSTRAINT pk_daemons PRIMARY KEY (id)
);
INSERT INTO "daemons" VALUES('深夜の一杯 id 1','深夜の一杯 host 1',1,'深夜の一杯 version 1','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456');
INSERT INTO "daemons" VALUES('深夜の一杯 id 2','深夜の一杯 host 2',2,'深夜の一杯 version 2','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	account VARCHAR(100), 
	post_id INTEGER, 
	slot_id INTEGER, 
	picture_id INTEGER, 
	note TEXT, 
	CONSTRAINT pk_events PRIMARY KEY (id), 
	CONSTRAINT fk_events_account FOREIGN KEY(account) REFERENCES accounts (name), 
	CONSTRAINT fk_events_post_id FOREIGN KEY(post_id) REFERENCES posts (id), 
	CONSTRAINT fk_events_slot_id FOREIGN KEY(slot_id) REFERENCES slots (id), 
	CONSTRAINT fk_events_picture_id FOREIGN KEY(picture_id) REFERENCES pictures (id)
);
INSERT INTO "events" VALUES(1,'2026-11-24 14:30:01.123456','深夜の一杯 actor 1','深夜の一杯 action 1','深夜の一杯 name 1',1,1,1,'深夜の一杯 note 1');
INSERT INTO "events" VALUES(2,'2026-11-24 14:30:02.123456','深夜の一杯 actor 2','深夜の一杯 action 2','深夜の一杯 name 2',2,2,2,'深夜の一杯 note 2');
CREATE TABLE notices (
	id INTEGER NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	kind TEXT NOT NULL, 
	account TEXT, 
	text TEXT NOT NULL, 
	opened_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	told JSON NOT NULL, 
	CONSTRAINT pk_notices PRIMARY KEY (id)
);
INSERT INTO "notices" VALUES(1,'深夜の一杯 key 1','深夜の一杯 kind 1','深夜の一杯 account 1','深夜の一杯 text 1','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','["1234567890123456789"]');
INSERT INTO "notices" VALUES(2,'深夜の一杯 key 2','深夜の一杯 kind 2','深夜の一杯 account 2','深夜の一杯 text 2','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','["1234567890123456789"]');
CREATE TABLE pictures (
	id INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	checkpoint TEXT NOT NULL, 
	seed BIGINT NOT NULL, 
	score DOUBLE NOT NULL, 
	quantile DOUBLE NOT NULL, 
	phash BIGINT NOT NULL, 
	file TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT, 
	created_at DATETIME NOT NULL, version INTEGER DEFAULT '0' NOT NULL, verdict VARCHAR(16), verdict_reason TEXT, reviewed_at DATETIME, caption TEXT, alt_text TEXT, 
	CONSTRAINT pk_pictures PRIMARY KEY (id), 
	CONSTRAINT uq_pictures_sha256 UNIQUE (sha256)
);
INSERT INTO "pictures" VALUES(1,'深夜の一杯 sha256 1','深夜の一杯 checkpoint 1',4611686018427387905,0.25,0.25,4611686018427387905,'深夜の一杯 file 1','posted','深夜の一杯 reason 1','2026-11-24 14:30:01.123456',1,'rejected','深夜の一杯 verdict_reason 1','2026-11-24 14:30:01.123456','深夜の一杯 caption 1','深夜の一杯 alt_text 1');
INSERT INTO "pictures" VALUES(2,'深夜の一杯 sha256 2','深夜の一杯 checkpoint 2',4611686018427387906,0.25,0.25,4611686018427387906,'深夜の一杯 file 2','posted','深夜の一杯 reason 2','2026-11-24 14:30:02.123456',2,'rejected','深夜の一杯 verdict_reason 2','2026-11-24 14:30:02.123456','深夜の一杯 caption 2','深夜の一杯 alt_text 2');
CREATE TABLE post_metrics (
	post_id INTEGER NOT NULL, 
	measured_at DATETIME NOT NULL, 
	likes INTEGER, 
	reposts INTEGER, 
	replies INTEGER, 
	views INTEGER, 
	CONSTRAINT pk_post_metrics PRIMARY KEY (post_id, measured_at), 
	CONSTRAINT fk_post_metrics_post_id FOREIGN KEY(post_id) REFERENCES posts (id)
);
INSERT INTO "post_metrics" VALUES(1,'2026-11-24 14:30:01.123456',1,1,1,1);
INSERT INTO "post_metrics" VALUES(2,'2026-11-24 14:30:02.123456',2,2,2,2);
CREATE TABLE post_pictures (
	post_id INTEGER NOT NULL, 
	picture_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_post_pictures PRIMARY KEY (post_id, picture_id), 
	CONSTRAINT fk_post_pictures_picture_id FOREIGN KEY(picture_id) REFERENCES pictures (id), 
	CONSTRAINT fk_post_pictures_post_id FOREIGN KEY(post_id) REFERENCES posts (id)
);
INSERT INTO "post_pictures" VALUES(1,1,1);
INSERT INTO "post_pictures" VALUES(2,2,2);
CREATE TABLE "posts" (
	id INTEGER NOT NULL, 
	account VARCHAR(100) NOT NULL, 
	slot_id INTEGER, 
	serial INTEGER, 
	kind VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	caption TEXT, 
	alt_text TEXT, 
	media_file TEXT, 
	media_ids JSON, 
	media_expires_at DATETIME, 
	remote_id TEXT, 
	url TEXT, 
	reason TEXT, 
	attempts INTEGER NOT NULL, 
	duplicate BOOLEAN NOT NULL, 
	lease_owner TEXT, 
	version INTEGER NOT NULL, 
	not_before DATETIME NOT NULL, 
	deadline DATETIME NOT NULL, 
	created_at DATETIME NOT NULL, 
	sent_at DATETIME, 
	posted_at DATETIME, 
	publisher TEXT NOT NULL, 
	remote_user_id TEXT, 
	group_key TEXT, 
	draft JSON, 
	due_at DATETIME NOT NULL, 
	CONSTRAINT pk_posts PRIMARY KEY (id), 
	CONSTRAINT uq_posts_slot_id UNIQUE (slot_id), 
	CONSTRAINT fk_posts_account FOREIGN KEY(account) REFERENCES accounts (name), 
	CONSTRAINT fk_posts_slot_id FOREIGN KEY(slot_id) REFERENCES slots (id), 
	CONSTRAINT uq_posts_account_serial UNIQUE (account, serial)
);
INSERT INTO "posts" VALUES(1,'深夜の一杯 name 1',1,1,'grid','needs_person','深夜の一杯 caption 1','深夜の一杯 alt_text 1','深夜の一杯 media_file 1','["1234567890123456789"]','2026-11-24 14:30:01.123456','深夜の一杯 remote_id 1','深夜の一杯 url 1','深夜の一杯 reason 1',1,1,'深夜の一杯 lease_owner 1',1,'2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','2026-11-24 14:30:01.123456','深夜の一杯 publisher 1','深夜の一杯 remote_user_id 1','深夜の一杯 group_key 1','["1234567890123456789"]','2026-11-24 14:30:01.123456');
INSERT INTO "posts" VALUES(2,'深夜の一杯 name 2',2,2,'grid','needs_person','深夜の一杯 caption 2','深夜の一杯 alt_text 2','深夜の一杯 media_file 2','["1234567890123456789"]','2026-11-24 14:30:02.123456','深夜の一杯 remote_id 2','深夜の一杯 url 2','深夜の一杯 reason 2',2,1,'深夜の一杯 lease_owner 2',2,'2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','2026-11-24 14:30:02.123456','深夜の一杯 publisher 2','深夜の一杯 remote_user_id 2','深夜の一杯 group_key 2','["1234567890123456789"]','2026-11-24 14:30:02.123456');
CREATE TABLE slots (
	id INTEGER NOT NULL, 
	account VARCHAR(100) NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	due_at DATETIME NOT NULL, 
	local TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT, version INTEGER DEFAULT '0' NOT NULL, pinned BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_slots PRIMARY KEY (id), 
	CONSTRAINT fk_slots_account FOREIGN KEY(account) REFERENCES accounts (name), 
	CONSTRAINT uq_slots_key UNIQUE ("key")
);
INSERT INTO "slots" VALUES(1,'深夜の一杯 name 1','深夜の一杯 key 1','2026-11-24 14:30:01.123456','深夜の一杯 local 1','taken','深夜の一杯 reason 1',1,1);
INSERT INTO "slots" VALUES(2,'深夜の一杯 name 2','深夜の一杯 key 2','2026-11-24 14:30:02.123456','深夜の一杯 local 2','taken','深夜の一杯 reason 2',2,1);
CREATE INDEX ix_pictures_state ON pictures (state, id);
CREATE INDEX ix_slots_due ON slots (account, state, due_at);
CREATE INDEX ix_attempts_post_id ON attempts (post_id);
CREATE INDEX ix_post_pictures_picture_id ON post_pictures (picture_id);
CREATE INDEX ix_posts_open ON posts (account, not_before) WHERE state IN ('planned', 'claimed', 'uploaded', 'sending', 'retry', 'unknown');
CREATE INDEX ix_posts_person ON posts (account) WHERE state = 'needs_person';
CREATE INDEX ix_posts_sent ON posts (account, sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX ix_posts_group ON posts (group_key) WHERE group_key IS NOT NULL;
CREATE UNIQUE INDEX uq_posts_remote ON posts (publisher, remote_user_id, remote_id);
CREATE INDEX ix_events_post_id ON events (post_id);
CREATE UNIQUE INDEX uq_notices_open ON notices ("key") WHERE closed_at IS NULL;
CREATE INDEX ix_pictures_checkpoint ON pictures (checkpoint, id);
COMMIT;
