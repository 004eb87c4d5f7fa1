import GRDB

/// The tables of the journal, in versions that only go up. The version is SQLite's `user_version`.
enum JournalSchema {
    /// `Plmb`: says in the file's header whose it is.
    private static let applicationID: Int32 = 0x506C_6D62

    /// What each version adds to the one before. A version that was released never changes.
    private static let versions = [
        """
        CREATE TABLE run (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            command TEXT NOT NULL,
            source TEXT NOT NULL,
            revision TEXT,
            planID TEXT,
            user TEXT NOT NULL,
            host TEXT NOT NULL,
            origin TEXT,
            pid INTEGER NOT NULL,
            processStarted INTEGER NOT NULL,
            bootID TEXT NOT NULL,
            namespace TEXT NOT NULL,
            started TEXT NOT NULL,
            ended TEXT,
            outcome TEXT,
            message TEXT NOT NULL DEFAULT ''
        );
        CREATE INDEX run_open ON run (id) WHERE outcome IS NULL;
        CREATE TABLE action (
            run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            address TEXT NOT NULL,
            kind TEXT NOT NULL,
            operation TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            -- [{path, observed, desired}]; observed is the pre-image.
            fields TEXT NOT NULL,
            steps TEXT NOT NULL,
            started TEXT,
            ended TEXT,
            milliseconds INTEGER,
            outcome TEXT,
            message TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (run, address)
        ) WITHOUT ROWID;
        """,
        """
        -- Who a target is: one row without an end for each name, and those that went by it before.
        CREATE TABLE identity (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            target TEXT NOT NULL,
            kind TEXT NOT NULL,
            value TEXT NOT NULL,
            hostKey TEXT,
            firstSeen TEXT NOT NULL,
            lastSeen TEXT NOT NULL,
            acceptedBy TEXT,
            ended TEXT
        );
        CREATE UNIQUE INDEX identity_known ON identity (target) WHERE ended IS NULL;
        -- Host settings that were changed, each of one machine: a pre-image never gets to another.
        CREATE TABLE held (
            identity INTEGER NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
            address TEXT NOT NULL,
            kind TEXT NOT NULL,
            handler TEXT NOT NULL,
            -- [{path, before, applied, pending, reported}]; before is the pre-image.
            fields TEXT NOT NULL,
            firstApplied TEXT NOT NULL,
            lastApplied TEXT NOT NULL,
            run INTEGER REFERENCES run (id) ON DELETE SET NULL,
            PRIMARY KEY (identity, address)
        ) WITHOUT ROWID;
        """,
        """
        -- What must be left as it is until it is resumed or its time is over.
        CREATE TABLE pause (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            -- addresses, host, all
            scope TEXT NOT NULL,
            -- Of addresses the glob, of a host its name; else empty.
            pattern TEXT NOT NULL,
            reason TEXT NOT NULL,
            user TEXT NOT NULL,
            host TEXT NOT NULL,
            since TEXT NOT NULL,
            until TEXT,
            run INTEGER REFERENCES run (id) ON DELETE SET NULL
        );
        CREATE UNIQUE INDEX pause_scope ON pause (scope, pattern);
        -- What a person said is to be tried again at once; the latest thousand.
        CREATE TABLE resumption (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            scope TEXT NOT NULL,
            pattern TEXT NOT NULL
        );
        """,
    ]

    static func isCurrent(_ database: Database) throws -> Bool { try version(of: database) == versions.count }

    /// - Throws: where the file is another program's, or a newer Plumb's.
    static func check(_ database: Database, path: String) throws {
        let owner = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
        let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") ?? 0
        guard owner == applicationID || (owner == 0 && tables == 0) else {
            throw StoreFailure("\(path) is a database of another program", fix: "Give Plumb a directory of its own with --data-dir.")
        }
        let version = try version(of: database)
        guard version <= versions.count else {
            throw StoreFailure(
                "the journal \(path) was written by a newer Plumb (schema \(version), this one knows \(versions.count))",
                fix: "Use that Plumb, or give this one a directory of its own with --data-dir."
            )
        }
    }

    /// Takes all steps that are missing, or none: one transaction, so that two who open it first don't meet half-way.
    static func migrate(_ database: Database, path: String) throws {
        guard try !isCurrent(database) else { return }
        try database.inTransaction(.immediate) {
            try check(database, path: path)
            for sql in versions.dropFirst(try version(of: database)) { try database.execute(sql: sql) }
            try database.execute(sql: "PRAGMA application_id = \(applicationID)")
            try database.execute(sql: "PRAGMA user_version = \(versions.count)")
            return .commit
        }
    }

    private static func version(of database: Database) throws -> Int {
        try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
    }
}
