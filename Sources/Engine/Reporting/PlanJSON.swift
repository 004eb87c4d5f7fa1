package import Planning
import ResourceModel
package import Values

extension Plan {
    /// The plan as scripts read it; `formatVersion` "1" of the contract, which changes only by adding.
    package var document: Value { document(digestKey: nil) }

    /// The same as `--out` keeps it.
    ///
    /// - Parameter digestKey: A random text of its own for each file.
    package func document(digestKey: String?) -> Value {
        var document: Value = [
            "formatVersion": .string(SavedPlan.formatVersion),
            "planID": .string(planID),
            "revision": revision.map(Value.string) ?? .null,
            "source": .string(source),
            "contentHash": .string(contentHash),
            "selection": .array(selection.map(Value.string)),
            "targets": .array(
                identities.sorted { $0.key < $1.key }.map { target, identity in
                    var members: [String: Value] = ["target": .string(target), "identity": .string(identity)]
                    if let inventory = inventories[target] { members["inventory"] = .string(inventory) }
                    return .object(members)
                }
            ),
            "summary": [
                "create": .int(Int64(summary.create)), "update": .int(Int64(summary.update)), "delete": .int(Int64(summary.delete)),
                "unchanged": .int(Int64(summary.unchanged)), "problems": .int(Int64(summary.problems)),
            ],
            "changes": .array(actions.map { $0.document(digestKey: digestKey) }),
            "unchanged": .array(unchanged.map { ["address": .string($0.description)] }),
            "problems": .array(problems.map(\.document)),
            "notes": .array(notes.map(Value.string)),
        ]
        if let digestKey { document["digestKey"] = .string(digestKey) }
        document = document.asRead
        document["checksum"] = .string(SavedPlan.checksum(of: document))
        return document
    }
}

extension Action {
    fileprivate func document(digestKey: String?) -> Value {
        var document: Value = [
            "address": .string(address.description),
            "kind": .string(kind),
            "target": .string(address.target),
            "action": .string(operation.rawValue),
            "fields": .array(fields.map { ["path": .string($0.path), "observed": $0.observed ?? .null, "desired": $0.desired ?? .null] }),
            "steps": .array(steps.map { .string($0.summary) }),
            "stepsDigest": .string(stepsDigest),
            "risk": .string(risk.rawValue),
            "reason": .string(reason),
            "fingerprint": .string(fingerprint),
            "dependsOn": .array(dependsOn.map { .string($0.description) }),
        ]
        if let digestKey { document["sensitiveDigest"] = .string(PlannedChange(self, digestKey: digestKey).sensitiveDigest) }
        return document
    }
}

extension Problem {
    /// One line of `apply --output jsonl`.
    package var line: Value {
        var line = document
        line["type"] = "problem"
        return line
    }

    fileprivate var document: Value {
        var document: Value = ["target": .string(target), "status": .string(status.rawValue), "message": .string(message)]
        if let address { document["address"] = .string(address.description) }
        return document
    }
}

extension Value {
    /// JSON for scripts that a person may look at as well: two spaces, sorted keys, and every character that a terminal might act on as
    /// `\uXXXX`, which readers of JSON turn back. Sensitive values appear as `(sensitive)`.
    package var prettyJSON: String {
        var text = ""
        write(into: &text, indent: "")
        text += "\n"
        return text
    }

    /// The same in one line, for JSON lines.
    package var lineJSON: String { Self.escapeActive(canonicalJSON) }

    private func write(into text: inout String, indent: String) {
        let inner = indent + "  "
        switch self {
        case .array(let elements) where !elements.isEmpty:
            text += "["
            for (index, element) in elements.enumerated() {
                text += index == 0 ? "\n" : ",\n"
                text += inner
                element.write(into: &text, indent: inner)
            }
            text += "\n\(indent)]"
        case .object(let members) where !members.isEmpty:
            text += "{"
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                text += index == 0 ? "\n" : ",\n"
                text += inner
                text += Self.escapeActive(Value.string(member.key).canonicalJSON)
                text += ": "
                member.value.write(into: &text, indent: inner)
            }
            text += "\n\(indent)}"
        default:
            text += Self.escapeActive(canonicalJSON)
        }
    }

    private static func escapeActive(_ json: String) -> String {
        guard json.unicodeScalars.contains(where: Escaping.isActive) else { return json }
        var result = ""
        for scalar in json.unicodeScalars {
            if Escaping.isActive(scalar) {
                for unit in String(scalar).utf16 {
                    let hex = String(unit, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                }
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
