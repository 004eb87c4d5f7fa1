package import Foundation
import GRDB
import Glibc

extension Inventory {
    /// What is known, for reading: nothing is made and nothing is changed, and an older journal stays as old as it is.
    ///
    /// - Returns: an empty one where nothing was ever recorded.
    package static func read(in directory: DataDirectory) throws(StoreFailure) -> Inventory {
        guard let database = try Journal.databaseForReading(in: directory) else { return Inventory() }
        let path = "\(directory.path)/\(Journal.fileName)"
        do {
            return try database.read { database in
                try JournalSchema.check(database, path: path)
                return try database.tableExists("held") ? try fetch(database) : Inventory()
            }
        } catch {
            throw Journal.failure(error, doing: "read", path: path)
        }
    }
}

extension Journal {
    package func inventory() async throws(StoreFailure) -> Inventory {
        try await read { try Inventory.fetch($0) }
    }

    /// Writes down who was met. Another one than is known under a name is not written down: that takes `accept`.
    package func noteSeen(_ identities: [Inventory.Identity]) async throws(StoreFailure) {
        guard !identities.isEmpty else { return }
        try await write { database in
            for identity in identities {
                let known = try Row.fetchOne(
                    database,
                    sql: "SELECT * FROM identity WHERE target = ? AND ended IS NULL",
                    arguments: [identity.target]
                ).map(Inventory.Identity.init)
                guard let known else {
                    try Self.insert(identity, into: database)
                    continue
                }
                guard known.id == identity.id, known.kind == identity.kind else { continue }
                try database.execute(
                    sql: "UPDATE identity SET lastSeen = ?, hostKey = ? WHERE target = ? AND ended IS NULL",
                    arguments: [identity.lastSeen, identity.hostKey ?? known.hostKey, identity.target]
                )
            }
        }
    }

    /// From now on this is the one that goes by the name. What was kept of the one before it is put aside for good.
    package func accept(_ identity: Inventory.Identity) async throws(StoreFailure) {
        try await write { database in
            try database.execute(
                sql: "UPDATE identity SET ended = ? WHERE target = ? AND ended IS NULL",
                arguments: [identity.firstSeen, identity.target]
            )
            try Self.insert(identity, into: database)
        }
    }

    private static func insert(_ identity: Inventory.Identity, into database: Database) throws {
        try database.execute(
            sql: "INSERT INTO identity (target, kind, value, hostKey, firstSeen, lastSeen, acceptedBy) VALUES (?, ?, ?, ?, ?, ?, ?)",
            arguments: [
                identity.target, identity.kind, identity.id, identity.hostKey, identity.firstSeen, identity.lastSeen, identity.acceptedBy,
            ]
        )
    }

    // MARK: Settings

    /// Writes down what is going to be changed, with its pre-images, before the first of it is. What has a pre-image already keeps it.
    ///
    /// - Assumptions: `target` is known by `noteSeen`; of one that is not, nothing is kept.
    package func hold(_ changes: [SettingChange], at target: String, run: Int64?, time: Date) async throws(StoreFailure) {
        try await write { database in
            guard let identity = try Self.identity(of: target, database) else { return }
            for change in changes {
                var fields = try Self.fields(of: change.address, identity, database) ?? []
                for field in change.fields where !fields.contains(where: { $0.path == field.path }) {
                    fields.append(.init(path: field.path, before: field.observed, applied: field.desired, isPending: true))
                }
                try database.execute(
                    sql: """
                        INSERT INTO held (identity, address, kind, handler, fields, firstApplied, lastApplied, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT (identity, address) DO UPDATE SET fields = excluded.fields
                        """,
                    arguments: [
                        identity, change.address, change.kind, change.handler, Inventory.Setting.json(fields), time, time, run,
                    ]
                )
            }
        }
    }

    /// Writes down what has become of that.
    package func settle(_ endings: [(SettingChange, SettingEnding)], at target: String, run: Int64?, time: Date) async throws(StoreFailure) {
        let endings = endings.filter { $0.1 != .uncertain }
        guard !endings.isEmpty else { return }
        try await write { database in
            guard let identity = try Self.identity(of: target, database) else { return }
            for (change, ending) in endings {
                guard var fields = try Self.fields(of: change.address, identity, database) else { continue }
                if ending == .changed {
                    for field in change.fields {
                        guard let index = fields.firstIndex(where: { $0.path == field.path }) else { continue }
                        fields[index].applied = field.desired
                        fields[index].isPending = false
                        fields[index].isReported = false
                    }
                    try database.execute(
                        sql: "UPDATE held SET fields = ?, lastApplied = ?, run = ? WHERE identity = ? AND address = ?",
                        arguments: [Inventory.Setting.json(fields), time, run, identity, change.address]
                    )
                    continue
                }
                let paths = Set(change.fields.map(\.path))
                fields.removeAll { $0.isPending && paths.contains($0.path) }
                if fields.isEmpty {
                    try database.execute(sql: "DELETE FROM held WHERE identity = ? AND address = ?", arguments: [identity, change.address])
                } else {
                    try database.execute(
                        sql: "UPDATE held SET fields = ? WHERE identity = ? AND address = ?",
                        arguments: [Inventory.Setting.json(fields), identity, change.address]
                    )
                }
            }
        }
    }

    /// Writes down that these settings are as they were to be, whatever became of the apply that was to make them so.
    package func confirm(_ addresses: [String]) async throws(StoreFailure) {
        let addresses = Set(addresses)
        try await changeFields { address, field in if addresses.contains(address) { field.isPending = false } }
    }

    /// Writes down of which fields, by address and path, it has been said that they are no longer declared; of all others it has not.
    package func markReported(_ reported: [String: Set<String>]) async throws(StoreFailure) {
        try await changeFields { address, field in field.isReported = reported[address]?.contains(field.path) ?? false }
    }

    private func changeFields(_ change: @escaping @Sendable (String, inout Inventory.Setting.Field) -> Void) async throws(StoreFailure) {
        try await write { database in
            for row in try Row.fetchAll(database, sql: "SELECT held.* FROM held JOIN identity ON id = identity WHERE ended IS NULL") {
                let address: String = row["address"]
                let identity: Int64 = row["identity"]
                let before = try Inventory.Setting.fields(row["fields"])
                var fields = before
                for index in fields.indices { change(address, &fields[index]) }
                guard fields != before else { continue }
                try database.execute(
                    sql: "UPDATE held SET fields = ? WHERE identity = ? AND address = ?",
                    arguments: [Inventory.Setting.json(fields), identity, address]
                )
            }
        }
    }

    /// Takes settings out of the inventory: Plumb no longer holds them.
    package func giveUp(_ addresses: [String], at target: String) async throws(StoreFailure) {
        try await write { database in
            guard let identity = try Self.identity(of: target, database) else { return }
            for address in addresses {
                try database.execute(sql: "DELETE FROM held WHERE identity = ? AND address = ?", arguments: [identity, address])
            }
        }
    }

    private static func identity(of target: String, _ database: Database) throws -> Int64? {
        try Int64.fetchOne(database, sql: "SELECT id FROM identity WHERE target = ? AND ended IS NULL", arguments: [target])
    }

    private static func fields(of address: String, _ identity: Int64, _ database: Database) throws -> [Inventory.Setting.Field]? {
        try String.fetchOne(database, sql: "SELECT fields FROM held WHERE identity = ? AND address = ?", arguments: [identity, address])
            .map(Inventory.Setting.fields)
    }
}
