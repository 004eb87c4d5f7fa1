import Crypto
import ResourceModel
import Values

extension SHA256 {
    mutating func update(lines: [String]) {
        for line in lines {
            // The length in front keeps ["ab", "c"] apart from ["a", "bc"].
            update(data: Array("\(line.utf8.count):\(line)\n".utf8))
        }
    }

    var hex: String { finalize().hex }

    static func hex(_ lines: [String]) -> String {
        var hash = SHA256()
        hash.update(lines: lines)
        return hash.hex
    }
}

extension Sequence<UInt8> {
    fileprivate var hex: String { map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined() }
}

extension Action {
    /// Hash of what its steps do, to the byte; the summaries that a person reads may be shortened.
    ///
    /// What undoes them is not in it. Neither is what a JSON patch only tests, such as the version of the object: that guards the request
    /// and is no part of its effect. Sensitive values count as `(sensitive)`, so nothing can be learnt by guessing at the hash.
    package var stepsDigest: String { SHA256.hex(steps.flatMap { $0.effect(as: \.canonicalJSON) }) }

    /// HMAC of what its fields and steps hold, sensitive values included; empty where none is sensitive. Who has the key can try guesses on it,
    /// so it goes where the key is kept, and nowhere else.
    func sensitiveDigest(key: String) -> String {
        func lines(_ json: (Value) -> String) -> [String] {
            fields.flatMap { [$0.path, $0.observed.map(json) ?? "", $0.desired.map(json) ?? ""] } + steps.flatMap { $0.effect(as: json) }
        }
        let exposed = lines(\.exposedJSON)
        if exposed == lines(\.canonicalJSON) { return "" }
        var hash = HMAC<SHA256>(key: SymmetricKey(data: Array(key.utf8)))
        for line in exposed { hash.update(data: Array("\(line.utf8.count):\(line)\n".utf8)) }
        return hash.finalize().hex
    }
}

extension Step {
    fileprivate func effect(as json: (Value) -> String) -> [String] {
        switch operation {
        case .run(let arguments, let input): ["run", String(arguments.count)] + arguments + [input.map { "input \($0)" } ?? ""]
        case .send(let request): ["send", request.method, request.path, request.contentType ?? "", request.effect.map(json) ?? ""]
        }
    }
}

extension Step.Request {
    fileprivate var effect: Value? {
        guard contentType == "application/json-patch+json", case .array(let operations)? = body else { return body }
        return .array(operations.filter { $0["op"] != "test" })
    }
}
