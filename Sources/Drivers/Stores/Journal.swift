package import Foundation
import GRDB
import Glibc
import Synchronization
import Values

/// What was changed, when, by whom and how it ended: an SQLite database in the data directory.
///
/// - Guarantees: what a call wrote outlives the process and, as `Durability` says, the machine's power.
/// - Flow: `begin` writes the run with all its actions, then `start` before and `end` after each of them, then `end` for the run. A run
///   without an end whose process is gone was interrupted.
package final class Journal: Sendable {
    package static let fileName = "journal.sqlite"

    /// The database's file.
    package let path: String
    let database: DatabaseQueue
    /// Which file it was when it was opened: the journal may be moved aside and begun anew.
    let file: FileIdentity?
    /// How often pauses were written through this very connection.
    let pauseWrites = Mutex(0)

    private init(path: String, database: DatabaseQueue) {
        self.path = path
        self.database = database
        file = FileIdentity(path)
    }

    struct FileIdentity: Equatable {
        private var device: dev_t
        private var number: ino_t

        /// nil: there is no file, or an empty one.
        init?(_ path: String) {
            var info = stat()
            guard stat(path, &info) == 0, info.st_size > 0 else { return nil }
            (device, number) = (info.st_dev, info.st_ino)
        }
    }

    package enum Durability: Sendable {
        /// What a call wrote is on the disk when it returns: it outlives the process and the machine's power.
        case power
        /// It outlives the process; of the last moments before a loss of power some may be missing. Nothing is ever damaged.
        case process
    }

    /// Opens the journal for writing, makes it where there is none, and brings an older one up to date.
    package static func open(in directory: DataDirectory, durability: Durability = .power) throws(StoreFailure) -> Journal {
        // Made by us, so that it is never open to others; SQLite gives the files beside it the same mode and owner.
        close(try directory.openFile(fileName))
        let path = "\(directory.path)/\(fileName)"
        do {
            let database = try DatabaseQueue(path: path, configuration: configuration(readOnly: false))
            try database.writeWithoutTransaction { database in
                // Looked at before anything is changed: it may be somebody else's.
                try JournalSchema.check(database, path: path)
                try checkPages(database, path: path)
                _ = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
                // FULL: every commit is on the disk before it counts. NORMAL: every checkpoint is.
                try database.execute(sql: "PRAGMA synchronous = \(durability == .power ? "FULL" : "NORMAL")")
                try JournalSchema.migrate(database, path: path)
            }
            return Journal(path: path, database: database)
        } catch {
            throw failure(error, doing: "opened", path: path)
        }
    }

    /// A damaged page is noticed before an apply relies on what is written to it, and not in the middle.
    private static func checkPages(_ database: Database, path: String) throws {
        let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
        // 64 MiB, which takes a fraction of a second; what is larger is checked as it is read.
        guard pages <= 16_384, let answer = try String.fetchOne(database, sql: "PRAGMA quick_check(1)"), answer != "ok" else { return }
        throw damage(path, answer.split(separator: "\n").last.map(String.init) ?? answer)
    }

    /// Opens the journal for reading; nil where nothing was ever recorded. Works while an apply is writing.
    package static func openForReading(in directory: DataDirectory) throws(StoreFailure) -> Journal? {
        guard let database = try databaseForReading(in: directory) else { return nil }
        let path = "\(directory.path)/\(fileName)"
        do {
            let isCurrent = try database.read { database in
                try JournalSchema.check(database, path: path)
                return try JournalSchema.isCurrent(database)
            }
            return isCurrent ? Journal(path: path, database: database) : try open(in: directory)
        } catch {
            throw failure(error, doing: "read", path: path)
        }
    }

    /// The database as it is, whatever its version; nil where nothing was ever recorded.
    static func databaseForReading(in directory: DataDirectory) throws(StoreFailure) -> DatabaseQueue? {
        let path = "\(directory.path)/\(fileName)"
        var info = stat()
        guard stat(path, &info) == 0 else {
            let cause = errno
            if cause == ENOENT || cause == ENOTDIR { return nil }
            throw StoreFailure("the journal \(path) can't be read: \(reason(cause))", fix: "Run as the one whose journal it is.")
        }
        // Made by an apply that could not even begin.
        if info.st_size == 0 { return nil }
        do {
            return try DatabaseQueue(path: isStill(directory) ? stillURI(path) : path, configuration: configuration(readOnly: true))
        } catch {
            throw failure(error, doing: "read", path: path)
        }
    }

    /// SQLite needs a file beside the database to read along with a writer. Where it can't make one and nobody left one, nobody writes.
    static func isStill(_ directory: DataDirectory) -> Bool {
        access(directory.path, W_OK) != 0 && access("\(directory.path)/\(fileName)-wal", F_OK) != 0
    }

    private static func stillURI(_ path: String) -> String {
        "file:\(path.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? path)?immutable=1"
    }

    private static func configuration(readOnly: Bool) -> Configuration {
        var configuration = Configuration()
        configuration.label = "plumb.journal"
        configuration.readonly = readOnly
        configuration.busyMode = .timeout(10)
        return configuration
    }

    // MARK: Writing

    /// Writes down a run with everything it is going to do, before the first of it starts.
    ///
    /// - Parameter first: The action that is about to start; nil: `start` will say.
    /// - Returns: the run's number.
    package func begin(
        _ run: RunStart,
        actions: [ActionStart] = [],
        starting first: (address: String, time: Date)? = nil
    ) async throws(StoreFailure) -> Int64 {
        try await write { database in
            let id = try run.insert(into: database)
            let insertion = try database.cachedStatement(
                sql: """
                    INSERT INTO action (run, position, address, kind, operation, fingerprint, fields, steps, started)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """
            )
            for (position, action) in actions.enumerated() {
                let started = first.flatMap { $0.address == action.address ? $0.time.column : nil }
                try insertion.execute(arguments: [
                    id, position, action.address, action.kind, action.operation, action.fingerprint, action.fieldsJSON, action.stepsJSON, started,
                ])
            }
            return id
        }
    }

    /// Writes down that an action is about to start.
    package func start(_ address: String, of run: Int64, at time: Date) async throws(StoreFailure) {
        try await write { database in
            let update = try database.cachedStatement(sql: "UPDATE action SET started = ? WHERE run = ? AND address = ?")
            try update.execute(arguments: [time.column, run, address])
            guard database.changesCount == 1 else {
                throw StoreFailure(
                    "\(address) is not in the journal's run \(run)",
                    fix: "Somebody changed the journal, or this is a mistake in Plumb; please report it."
                )
            }
        }
    }

    /// Writes down how an action ended, also one that was never started.
    package func end(
        _ address: String,
        of run: Int64,
        outcome: ActionRecord.Outcome,
        message: String,
        at time: Date,
        took duration: Duration?
    ) async throws(StoreFailure) {
        try await write { database in
            let update = try database.cachedStatement(
                sql: "UPDATE action SET ended = ?, milliseconds = ?, outcome = ?, message = ? WHERE run = ? AND address = ?"
            )
            try update.execute(arguments: [time.column, duration?.milliseconds, outcome.rawValue, message, run, address])
        }
    }

    /// Writes down how a run ended. One that others took for interrupted, and was not, has the last word.
    package func end(_ run: Int64, outcome: RunOutcome, message: String, at time: Date) async throws(StoreFailure) {
        try await write { database in
            let update = try database.cachedStatement(sql: "UPDATE run SET ended = ?, outcome = ?, message = ? WHERE id = ?")
            try update.execute(arguments: [time.column, outcome.rawValue, message, run])
        }
    }

    /// Closes a run that ended without a word, and what was under way in it.
    package func closeInterrupted(_ run: Int64, at time: Date) async throws(StoreFailure) {
        try await write { database in
            try database.execute(
                sql: "UPDATE action SET outcome = ? WHERE run = ? AND started IS NOT NULL AND outcome IS NULL",
                arguments: [ActionRecord.Outcome.interrupted.rawValue, run]
            )
            try database.execute(
                sql: "UPDATE run SET ended = ?, outcome = ?, message = 'ended without a word' WHERE id = ? AND outcome IS NULL",
                arguments: [time, RunOutcome.interrupted.rawValue, run]
            )
        }
    }

    /// Forgets runs that began before this time and have ended, the newest ones excepted. What is held and paused stays.
    ///
    /// - Returns: how many it forgot. In portions, so that nobody waits long for the journal meanwhile.
    @discardableResult
    package func forget(before time: Date, keeping newest: Int = 1000) async throws(StoreFailure) -> Int {
        var forgotten = 0
        while true {
            let count = try await write { database in
                try database.execute(
                    sql: """
                        DELETE FROM run WHERE id IN (
                            SELECT id FROM run WHERE outcome IS NOT NULL AND started < ? AND id <= (SELECT max(id) FROM run) - ? ORDER BY id LIMIT 200
                        )
                        """,
                    arguments: [time.column, newest]
                )
                return database.changesCount
            }
            forgotten += count
            if count < 200 || Task.isCancelled { return forgotten }
        }
    }

    func write<Result: Sendable>(_ updates: @escaping @Sendable (Database) throws -> Result) async throws(StoreFailure) -> Result {
        do {
            return try await database.write(updates)
        } catch {
            throw Self.failure(error, doing: "written", path: path)
        }
    }

    // MARK: Reading

    /// The newest runs, newest first.
    package func runs(limit: Int) async throws(StoreFailure) -> [Run] {
        try await read { database in
            try Run.fetch(database, where: "TRUE ORDER BY id DESC LIMIT ?", [limit])
        }
    }

    package func run(_ id: Int64) async throws(StoreFailure) -> Run? {
        try await read { database in try Run.fetch(database, where: "id = ?", [id]).first }
    }

    /// The runs without an end, oldest first.
    package func openRuns() async throws(StoreFailure) -> [Run] {
        try await read { database in try Run.fetch(database, where: "outcome IS NULL ORDER BY id", []) }
    }

    /// What a run was going to do and how it went, in the order of its plan.
    package func actions(of run: Int64) async throws(StoreFailure) -> [ActionRecord] {
        try await read { database in
            try Row.fetchAll(database, sql: "SELECT * FROM action WHERE run = ? ORDER BY position", arguments: [run]).map(ActionRecord.init)
        }
    }

    func read<Result: Sendable>(_ query: @escaping @Sendable (Database) throws -> Result) async throws(StoreFailure) -> Result {
        do {
            return try await database.read(query)
        } catch {
            throw Self.failure(error, doing: "read", path: path)
        }
    }

    // MARK: Failures

    static func failure(_ error: any Error, doing what: String, path: String) -> StoreFailure {
        if let failure = error as? StoreFailure { return failure }
        guard let error = error as? DatabaseError else { return StoreFailure("the journal \(path) can't be \(what): \(error)", fix: otherPlace) }
        switch error.resultCode {
        case .SQLITE_NOTADB, .SQLITE_CORRUPT:
            return StoreFailure(
                "the journal \(path) is damaged (\(error.message ?? "no SQLite database"))",
                fix:
                    "Move it aside (mv '\(path)' '\(path).damaged') and run again: a new one is begun, and what is live is observed anew in any case."
            )
        case .SQLITE_FULL:
            return StoreFailure(
                "the journal \(path) can't be \(what): its disk is full",
                fix: "Make room, or give another directory with --data-dir."
            )
        case .SQLITE_BUSY:
            return StoreFailure("the journal \(path) can't be \(what): another process holds it", fix: "Run again when that one has ended.")
        default:
            return StoreFailure(
                "the journal \(path) can't be \(what): \(error.message ?? "SQLite error") (\(error.extendedResultCode.rawValue))",
                fix: otherPlace
            )
        }
    }

    private static func damage(_ path: String, _ what: String) -> StoreFailure {
        StoreFailure(
            "the journal \(path) is damaged (\(what))",
            fix: "Move it aside (mv '\(path)' '\(path).damaged') and run again: a new one is begun. What is live is observed anew in any case."
        )
    }

    private static let otherPlace = "Look at its disk and its mode, or give another directory with --data-dir."
}

extension Duration {
    fileprivate var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
