import GRDB
import Values

extension Inventory {
    static func fetch(_ database: Database) throws -> Inventory {
        var inventory = Inventory()
        for row in try Row.fetchAll(database, sql: "SELECT * FROM identity WHERE ended IS NULL") {
            let identity = Identity(row)
            inventory.identities[identity.target] = identity
        }
        let sql = """
            SELECT held.*, identity.target AS target FROM held JOIN identity ON identity.id = held.identity
            WHERE identity.ended IS NULL ORDER BY address
            """
        inventory.settings = try Row.fetchAll(database, sql: sql).map(Setting.init)
        return inventory
    }
}

extension Inventory.Identity {
    init(_ row: Row) {
        self.init(
            target: row["target"],
            kind: row["kind"],
            id: row["value"],
            hostKey: row["hostKey"],
            firstSeen: row["firstSeen"],
            lastSeen: row["lastSeen"],
            acceptedBy: row["acceptedBy"]
        )
    }
}

extension Inventory.Setting {
    init(_ row: Row) throws {
        let fields: String = row["fields"]
        self.init(
            target: row["target"],
            address: row["address"],
            kind: row["kind"],
            handler: row["handler"],
            fields: try Self.fields(fields),
            firstApplied: row["firstApplied"],
            lastApplied: row["lastApplied"],
            run: row["run"]
        )
    }

    static func fields(_ json: String) throws -> [Field] {
        (try Value(json: json.utf8).arrayValue ?? []).map { field in
            // What is not there has no key; null is a value.
            Field(
                path: field["path"]?.stringValue ?? "",
                before: field["before"],
                applied: field["applied"],
                isPending: field["pending"]?.boolValue ?? false,
                isReported: field["reported"]?.boolValue ?? false
            )
        }
    }

    /// Canonical JSON, which has no way to write a sensitive value.
    static func json(_ fields: [Field]) -> String {
        Value.array(
            fields.map { field in
                var value: Value = ["path": .string(field.path)]
                if let before = field.before { value["before"] = before }
                if let applied = field.applied { value["applied"] = applied }
                if field.isPending { value["pending"] = true }
                if field.isReported { value["reported"] = true }
                return value
            }
        ).canonicalJSON
    }
}
