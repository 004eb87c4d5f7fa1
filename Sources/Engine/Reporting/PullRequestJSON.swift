import Planning
import ResourceModel
package import Values

extension PullRequestReport {
    /// The report as scripts read it; `formatVersion` "1", which changes only by adding.
    package var document: Value {
        [
            "formatVersion": "1",
            "source": .string(source),
            "base": base.document(planID: basePlanID),
            "head": head.document(planID: planID),
            "observedAt": .string(observedAt.description),
            "stranger": .bool(audience.isForStranger),
            "valuesHidden": .bool(audience.hidesValues),
            "headline": .string(headline),
            "summary": [
                "changes": .int(Int64(changes.count)),
                "disconnecting": .int(Int64(changes.count { $0.risk == .disconnecting })),
                "disruptive": .int(Int64(changes.count { $0.risk == .disruptive })),
                "drifted": .int(Int64(drifted.count)),
                "ended": .int(Int64(ended.count)),
                "declared": .int(Int64(declared.count)),
                "problems": .int(Int64(problems.count { $0.since != .ended })),
                "unchanged": .int(Int64(unchanged)),
            ],
            "changes": .array(changes.map(\.document)),
            "drifted": .array(drifted.map(\.document)),
            "ended": .array(
                ended.map { ended in
                    var document = ended.change.document
                    document["why"] = .string(ended.why)
                    return document
                }
            ),
            "problems": .array(problems.map(\.document)),
            "declared": .array(declared.map(\.document)),
            "targets": .array(targets.map(\.document)),
            "mistakes": .array(mistakes.map(\.document)),
            "baseMistakes": .int(Int64(baseMistakes)),
            "notes": .array(notes.map(Value.string)),
        ]
    }
}

extension PullRequestReport.Revision {
    fileprivate func document(planID: String?) -> Value {
        ["name": .string(name), "commit": commit.isEmpty ? .null : .string(commit), "planID": planID.map(Value.string) ?? .null]
    }
}

extension PullRequestReport.Change {
    fileprivate var document: Value {
        [
            "address": .string(address.description), "kind": .string(kind), "target": .string(address.target),
            "action": .string(operation.rawValue),
            "fields": .array(fields.map { ["path": .string($0.path), "observed": $0.observed ?? .null, "desired": $0.desired ?? .null] }),
            "risk": .string(risk.rawValue), "reason": .string(reason),
        ]
    }
}

extension PullRequestReport.ReportedProblem {
    fileprivate var document: Value {
        var document: Value = [
            "target": .string(problem.target), "status": .string(problem.status.rawValue), "message": .string(problem.message),
            "since": .string(since.rawValue),
        ]
        if let address = problem.address { document["address"] = .string(address.description) }
        return document
    }
}

extension DeclaredField {
    fileprivate var document: Value { ["path": .string(path), "base": base ?? .null, "head": head ?? .null] }
}

extension DeclaredDifference {
    fileprivate var document: Value {
        [
            "address": .string(address.description), "kind": .string(kind), "target": .string(address.target),
            "operation": .string(operation.rawValue), "fields": .array(fields.map(\.document)),
        ]
    }
}

extension TargetDifference {
    fileprivate var document: Value {
        [
            "target": .string(name), "kind": isHost ? "Host" : "Cluster", "operation": .string(operation.rawValue),
            "fields": .array(fields.map(\.document)),
        ]
    }
}

extension Annotation {
    fileprivate var document: Value {
        [
            "path": .string(path), "line": .int(Int64(line)), "column": .int(Int64(column)), "message": .string(message), "fix": .string(fix),
        ]
    }
}
