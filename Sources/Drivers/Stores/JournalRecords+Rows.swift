import GRDB
import Values

extension Run {
    static func fetch(_ database: Database, where condition: String, _ arguments: StatementArguments) throws -> [Run] {
        var runs = try Row.fetchAll(database, sql: "SELECT * FROM run WHERE \(condition)", arguments: arguments).map(Run.init)
        for index in runs.indices {
            let counts = try Row.fetchAll(
                database,
                sql: "SELECT outcome, count(*) AS count FROM action WHERE run = ? GROUP BY outcome",
                arguments: [runs[index].id]
            )
            for row in counts {
                let outcome: String? = row["outcome"]
                runs[index].counts[outcome.flatMap(ActionRecord.Outcome.init)] = row["count"]
            }
        }
        return runs
    }

    private init(_ row: Row) {
        let processStarted: Int64 = row["processStarted"]
        let outcome: String? = row["outcome"]
        self.init(
            id: row["id"],
            start: RunStart(
                command: row["command"],
                source: row["source"],
                revision: row["revision"],
                planID: row["planID"],
                caller: Caller(
                    user: row["user"],
                    host: row["host"],
                    origin: row["origin"],
                    process: ProcessIdentity(
                        pid: row["pid"],
                        started: UInt64(bitPattern: processStarted),
                        bootID: row["bootID"],
                        namespace: row["namespace"]
                    )
                ),
                started: row["started"]
            ),
            ended: row["ended"],
            outcome: outcome.flatMap(RunOutcome.init),
            message: row["message"]
        )
    }
}

extension RunStart {
    /// - Returns: the run's number.
    func insert(into database: Database) throws -> Int64 {
        let insertion = try database.cachedStatement(
            sql: """
                INSERT INTO run (command, source, revision, planID, user, host, origin, pid, processStarted, bootID, namespace, started)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        )
        try insertion.execute(arguments: [
            command, source, revision, planID, caller.user, caller.host, caller.origin, caller.process.pid,
            Int64(bitPattern: caller.process.started), caller.process.bootID, caller.process.namespace, started,
        ])
        return database.lastInsertedRowID
    }
}

extension ActionStart {
    /// Canonical JSON, which has no way to write a sensitive value.
    var fieldsJSON: String {
        Value.array(
            fields.map { ["path": .string($0.path), "observed": $0.observed ?? .null, "desired": $0.desired ?? .null] }
        ).canonicalJSON
    }

    var stepsJSON: String { Value.array(steps.map(Value.string)).canonicalJSON }
}

extension ActionRecord {
    init(_ row: Row) throws {
        let fields: String = row["fields"]
        let steps: String = row["steps"]
        let milliseconds: Int64? = row["milliseconds"]
        let outcome: String? = row["outcome"]
        self.init(
            start: ActionStart(
                address: row["address"],
                kind: row["kind"],
                operation: row["operation"],
                fingerprint: row["fingerprint"],
                fields: (try Value(json: fields.utf8).arrayValue ?? []).map { field in
                    ActionStart.Field(
                        path: field["path"]?.stringValue ?? "",
                        observed: field["observed"].unlessNull,
                        desired: field["desired"].unlessNull
                    )
                },
                steps: (try Value(json: steps.utf8).arrayValue ?? []).compactMap(\.stringValue)
            ),
            started: row["started"],
            ended: row["ended"],
            duration: milliseconds.map { .milliseconds($0) },
            outcome: outcome.flatMap(Outcome.init),
            message: row["message"]
        )
    }
}

extension Value? {
    /// JSON has one word for "nothing there".
    fileprivate var unlessNull: Value? { self == .some(.null) ? .none : self }
}
