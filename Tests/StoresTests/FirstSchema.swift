import GRDB

/// The database as the first released version made it, with a run in it.
func makeFirstSchema(at path: String) throws {
    let database = try DatabaseQueue(path: path)
    try database.writeWithoutTransaction { database in
        _ = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
        try database.execute(
            sql: """
                CREATE TABLE run (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, source TEXT NOT NULL, revision TEXT, planID TEXT,
                    user TEXT NOT NULL, host TEXT NOT NULL, origin TEXT, pid INTEGER NOT NULL, processStarted INTEGER NOT NULL,
                    bootID TEXT NOT NULL, namespace TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, outcome TEXT,
                    message TEXT NOT NULL DEFAULT ''
                );
                CREATE INDEX run_open ON run (id) WHERE outcome IS NULL;
                CREATE TABLE action (
                    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE, position INTEGER NOT NULL, address TEXT NOT NULL,
                    kind TEXT NOT NULL, operation TEXT NOT NULL, fingerprint TEXT NOT NULL, fields TEXT NOT NULL, steps TEXT NOT NULL,
                    started TEXT, ended TEXT, milliseconds INTEGER, outcome TEXT, message TEXT NOT NULL DEFAULT '',
                    PRIMARY KEY (run, address)
                ) WITHOUT ROWID;
                INSERT INTO run VALUES (7, 'apply', 'state', NULL, '0123', 'alice', 'laptop', NULL, 4711, 1, 'boot', 'pid:[1]',
                    '2026-08-01 12:00:00.000', '2026-08-01 12:00:01.000', 'complete', '1 succeeded');
                INSERT INTO action VALUES (7, 0, 'pi-1/NetworkInterface/wlan0', 'NetworkInterface', 'update', '0f',
                    '[{"desired":1400,"observed":1500,"path":"mtu"}]', '["ip link set dev wlan0 mtu 1400"]',
                    '2026-08-01 12:00:00.000', '2026-08-01 12:00:01.000', 900, 'succeeded', '');
                PRAGMA application_id = 0x506C6D62;
                PRAGMA user_version = 1;
                """
        )
    }
    try database.close()
}

/// The same as the second released version left it, with a setting that is held.
func makeSecondSchema(at path: String) throws {
    try makeFirstSchema(at: path)
    let database = try DatabaseQueue(path: path)
    try database.writeWithoutTransaction { database in
        try database.execute(
            sql: """
                CREATE TABLE identity (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, hostKey TEXT,
                    firstSeen TEXT NOT NULL, lastSeen TEXT NOT NULL, acceptedBy TEXT, ended TEXT
                );
                CREATE UNIQUE INDEX identity_known ON identity (target) WHERE ended IS NULL;
                CREATE TABLE held (
                    identity INTEGER NOT NULL REFERENCES identity (id) ON DELETE CASCADE, address TEXT NOT NULL, kind TEXT NOT NULL,
                    handler TEXT NOT NULL, fields TEXT NOT NULL, firstApplied TEXT NOT NULL, lastApplied TEXT NOT NULL,
                    run INTEGER REFERENCES run (id) ON DELETE SET NULL, PRIMARY KEY (identity, address)
                ) WITHOUT ROWID;
                INSERT INTO identity VALUES (1, 'pi-1', 'host', '11', 'SHA256:x', '2026-08-01 12:00:00.000', '2026-08-01 12:00:00.000', NULL, NULL);
                INSERT INTO held VALUES (1, 'pi-1/NetworkInterface/wlan0', 'NetworkInterface', 'NetworkInterface',
                    '[{"applied":1400,"before":1500,"path":"mtu"}]', '2026-08-01 12:00:00.000', '2026-08-01 12:00:00.000', 7);
                PRAGMA user_version = 2;
                """
        )
    }
    try database.close()
}
