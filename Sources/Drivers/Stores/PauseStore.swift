package import Foundation
import GRDB
import Glibc
import Synchronization

/// The pauses of a data directory, for those who have to obey them: cheap enough to be asked before each action.
///
/// - Guarantees: an answer holds everything that was committed before it was asked for, by any process. It makes nothing and changes nothing, also
///   where there is no data directory yet, or an older journal.
package final class PauseStore: Sendable {
    /// What is paused, and what a person said is to be tried again at once.
    private struct Content {
        var pauses: [PauseRecord] = []
        var resumptions: [(id: Int64, scope: PauseRecord.Scope)] = []
    }

    private struct State {
        var database: DatabaseQueue?
        /// Which file `database` is.
        var file: Journal.FileIdentity?
        /// When `content` was read.
        var version: Version?
        var content = Content()
        var changes = 0
    }

    private struct Version: Equatable {
        /// SQLite's own count of what other connections have committed.
        var others: Int
        /// Writes through the connection that is asked.
        var own: Int
    }

    private let directory: DataDirectory?
    private let journal: Journal?
    private let state = Mutex(State())

    /// - Parameters:
    ///   - directory: nil: there is none, and nothing is ever paused.
    ///   - journal: One of this directory that is open for writing. Asked through it, what it writes itself is no reason to read everything again.
    package init(in directory: DataDirectory?, through journal: Journal? = nil) {
        self.directory = directory
        self.journal = journal
    }

    /// What is paused at this time.
    package func active(at now: Date) throws(StoreFailure) -> [PauseRecord] {
        try current().pauses.filter { record in record.until.map { now < $0 } ?? true }
    }

    /// Goes up with each change of what is stored; what ends by the time alone changes nothing here. Takes about 0.1 ms where nothing has changed.
    package func version() throws(StoreFailure) -> Int {
        _ = try current()
        return state.withLock { $0.changes }
    }

    /// What was resumed after the resumption of this number, with the number of the latest.
    package func resumptions(after id: Int64) throws(StoreFailure) -> (scopes: [PauseRecord.Scope], latest: Int64) {
        let all = try current().resumptions
        return (all.filter { $0.id > id }.map(\.scope), all.last?.id ?? 0)
    }

    private func current() throws(StoreFailure) -> Content {
        guard let directory else { return Content() }
        let path = "\(directory.path)/\(Journal.fileName)"
        do {
            return try state.withLock { state in try refresh(&state, in: directory, path: path) }
        } catch {
            throw Journal.failure(error, doing: "read", path: path)
        }
    }

    private func refresh(_ state: inout State, in directory: DataDirectory, path: String) throws -> Content {
        let file = Journal.FileIdentity(path)
        if state.database == nil || state.file != file {
            let before = state.content
            state.database = if let journal, file == journal.file { journal.database } else { try Journal.databaseForReading(in: directory) }
            state.file = file
            state.version = nil
            if state.database == nil {
                state.content = Content()
                if !before.pauses.isEmpty { state.changes += 1 }
                return state.content
            }
        }
        guard let database = state.database else { return state.content }
        let known = state.version
        let own = database === journal?.database ? journal?.pauseWrites.withLock(\.self) ?? 0 : 0
        let read: (Version, Content)?
        do {
            read = try database.read { database -> (Version, Content)? in
                let version = Version(others: try Int.fetchOne(database.cachedStatement(sql: "PRAGMA data_version")) ?? 0, own: own)
                if version == known { return nil }
                try JournalSchema.check(database, path: path)
                // Asked of the file: what is remembered of its tables is of before another process has brought it up to date.
                let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'pause'") ?? 0
                guard tables == 1 else { return (version, Content()) }
                return (version, try Self.content(database))
            }
        } catch {
            // Opened anew the next time.
            state.database = nil
            throw error
        }
        // One that can't make the files beside the database sees it as it was when it was opened.
        if Journal.isStill(directory) { state.database = nil }
        guard let (version, content) = read else { return state.content }
        let isSame = content.pauses == state.content.pauses && content.resumptions.last?.id == state.content.resumptions.last?.id
        state.version = version
        state.content = content
        if !isSame { state.changes += 1 }
        return content
    }

    private static func content(_ database: Database) throws -> Content {
        Content(
            pauses: try PauseRecord.fetch(database),
            resumptions: try Row.fetchAll(database, sql: "SELECT * FROM resumption ORDER BY id").map { row in
                (row["id"], try PauseRecord.Scope(word: row["scope"], pattern: row["pattern"]))
            }
        )
    }
}
