package import Foundation
import GRDB
import Synchronization

/// Something that `plumb pause` says must be left as it is.
package struct PauseRecord: Hashable, Sendable {
    package enum Scope: Hashable, Sendable {
        /// A glob.
        case addresses(String)
        /// Everything at a target.
        case host(String)
        case all
    }

    package var scope: Scope
    package var reason: String
    /// Who, and on which machine.
    package var user: String
    package var host: String
    package var since: Date
    /// nil: until it is resumed.
    package var until: Date?

    package init(_ scope: Scope, reason: String, user: String, host: String, since: Date, until: Date? = nil) {
        self.scope = scope
        self.reason = reason
        self.user = user
        self.host = host
        self.since = since
        self.until = until
    }

    /// Pauses at one time in one data directory; more are somebody's mistake.
    package static let limit = 1000
}

extension Journal {
    /// Pauses, and writes down who did; one that has this scope already gets the new reason and time. Either all of them are written or none.
    ///
    /// - Parameter words: Of each scope, what stands in the run as its source.
    /// - Returns: the number of the run.
    package func pause(
        _ records: [(PauseRecord, words: String)],
        by caller: Caller,
        message: String,
        at now: Date
    ) async throws(StoreFailure) -> Int64 {
        defer { pauseWrites.withLock { $0 += 1 } }
        return try await write { database in
            try Self.removeExpired(database, at: now)
            let run = try Self.note("pause", records.map(\.words), by: caller, message: message, at: now, in: database)
            for (record, _) in records {
                try database.execute(
                    sql: """
                        INSERT INTO pause (scope, pattern, reason, user, host, since, until, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT (scope, pattern) DO UPDATE SET reason = excluded.reason, user = excluded.user, host = excluded.host,
                            since = excluded.since, until = excluded.until, run = excluded.run
                        """,
                    arguments: [
                        record.scope.word, record.scope.pattern, record.reason, record.user, record.host, record.since, record.until, run,
                    ]
                )
            }
            let count = try Int.fetchOne(database, sql: "SELECT count(*) FROM pause") ?? 0
            guard count <= PauseRecord.limit else {
                throw StoreFailure(
                    "there would be \(count) pauses, more than \(PauseRecord.limit)",
                    fix: "Pause with a glob, or resume what need not be paused: 'plumb pause --list'."
                )
            }
            return run
        }
    }

    /// Takes pauses back and writes down who did, also that something is to be tried again at once that was not paused.
    ///
    /// - Parameters:
    ///   - isMeant: Which of the pauses; asked of each.
    ///   - scopes: What is to be tried again.
    /// - Returns: what was taken back, and what is paused still.
    package func resume(
        _ scopes: [(PauseRecord.Scope, words: String)],
        where isMeant: @escaping @Sendable (PauseRecord) -> Bool,
        by caller: Caller,
        message: @escaping @Sendable (_ resumed: [PauseRecord]) -> String,
        at now: Date
    ) async throws(StoreFailure) -> (resumed: [PauseRecord], left: [PauseRecord]) {
        defer { pauseWrites.withLock { $0 += 1 } }
        return try await write { database in
            try Self.removeExpired(database, at: now)
            let all = try PauseRecord.fetch(database)
            let resumed = all.filter(isMeant)
            for record in resumed {
                try database.execute(
                    sql: "DELETE FROM pause WHERE scope = ? AND pattern = ?",
                    arguments: [record.scope.word, record.scope.pattern]
                )
            }
            for (scope, _) in scopes {
                try database.execute(sql: "INSERT INTO resumption (scope, pattern) VALUES (?, ?)", arguments: [scope.word, scope.pattern])
            }
            try database.execute(sql: "DELETE FROM resumption WHERE id <= (SELECT max(id) FROM resumption) - 1000")
            _ = try Self.note("resume", scopes.map(\.words), by: caller, message: message(resumed), at: now, in: database)
            return (resumed, all.filter { !resumed.contains($0) })
        }
    }

    private static func note(
        _ command: String,
        _ words: [String],
        by caller: Caller,
        message: String,
        at now: Date,
        in database: Database
    ) throws -> Int64 {
        let run = try RunStart(command: command, source: words.joined(separator: " "), caller: caller, started: now).insert(into: database)
        try database.execute(
            sql: "UPDATE run SET ended = ?, outcome = ?, message = ? WHERE id = ?",
            arguments: [now, RunOutcome.complete.rawValue, message, run]
        )
        return run
    }

    private static func removeExpired(_ database: Database, at now: Date) throws {
        try database.execute(sql: "DELETE FROM pause WHERE until <= ?", arguments: [now])
    }
}

extension PauseRecord {
    static func fetch(_ database: Database) throws -> [PauseRecord] {
        try Row.fetchAll(database, sql: "SELECT * FROM pause ORDER BY id LIMIT \(limit)").map(PauseRecord.init)
    }

    private init(_ row: Row) throws {
        self.init(
            try Scope(word: row["scope"], pattern: row["pattern"]),
            reason: row["reason"],
            user: row["user"],
            host: row["host"],
            since: row["since"],
            until: row["until"]
        )
    }
}

extension PauseRecord.Scope {
    var word: String {
        switch self {
        case .addresses: "addresses"
        case .host: "host"
        case .all: "all"
        }
    }

    var pattern: String {
        switch self {
        case .addresses(let glob): glob
        case .host(let name): name
        case .all: ""
        }
    }

    init(word: String, pattern: String) throws {
        switch word {
        case "addresses": self = .addresses(pattern)
        case "host": self = .host(pattern)
        case "all": self = .all
        default:
            // Better too much left alone than too little.
            throw StoreFailure("the journal has a pause of an unknown sort ('\(word)')", fix: "Use the Plumb that wrote it.")
        }
    }
}
