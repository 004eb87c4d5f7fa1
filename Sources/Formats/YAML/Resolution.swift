package import Values

extension YAMLNode {
    /// The value that kubectl would send for this node.
    ///
    /// Plain scalars are resolved as Kubernetes tools do it (YAML 1.1: `yes` and `on` are true, `0o17` and `017` are 15); quoted ones are strings.
    /// - Parameter errors: gets duplicate keys, and what JSON has no word for.
    package func value(errors: inout [YAMLError]) -> Value {
        switch content {
        case .scalar(let scalar):
            do throws(Unresolvable) {
                return try scalar.resolved()
            } catch {
                errors.append(YAMLError(error.message, at: position, fix: error.fix))
                return .null
            }
        case .sequence(let elements):
            return .array(elements.map { $0.value(errors: &errors) })
        case .mapping(let entries):
            var members: [String: Value] = Dictionary(minimumCapacity: entries.count)
            for entry in entries {
                guard let key = entry.key.scalar?.text else {
                    errors.append(YAMLError("a key must be a plain word", at: entry.key.position))
                    continue
                }
                let value = entry.value.value(errors: &errors)
                if members.updateValue(value, forKey: key) != nil {
                    let first = entries.first { $0.key.scalar?.text == key }?.key.position ?? position
                    errors.append(
                        YAMLError("duplicate key '\(key)'", at: entry.key.position, fix: "It stands at \(first) already; keep one of the two.")
                    )
                }
            }
            return .object(members)
        }
    }
}

struct Unresolvable: Error {
    var message: String
    var fix: String
}

extension YAMLScalar {
    func resolved() throws(Unresolvable) -> Value {
        switch tag {
        case nil: return isPlain ? try resolvedPlain() : .string(text)
        case "tag:yaml.org,2002:str"?, "!"?: return .string(text)
        case "tag:yaml.org,2002:binary"?: return .string(text.filter { !$0.isWhitespace })
        case "tag:yaml.org,2002:int"?, "tag:yaml.org,2002:float"?, "tag:yaml.org,2002:bool"?, "tag:yaml.org,2002:null"?: return try resolvedPlain()
        case let tag?: throw Unresolvable(message: "unknown tag '\(tag)'", fix: "Specs are plain data; leave the tag out.")
        }
    }

    private func resolvedPlain() throws(Unresolvable) -> Value {
        guard let first = text.utf8.first else { return .null }
        switch first {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            return try resolvedNumber() ?? .string(text)
        default: break
        }
        switch text {
        case "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return true
        case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return false
        default: return .string(text)
        }
    }

    private func resolvedNumber() throws(Unresolvable) -> Value? {
        switch text {
        case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN":
            throw Unresolvable(message: "'\(text)' is no number that an API server takes", fix: "Quote it if a text is meant.")
        default: break
        }
        let digits = text.replacing("_", with: "")
        var body = Substring(digits)
        let isNegative = body.hasPrefix("-")
        if isNegative || body.hasPrefix("+") { body = body.dropFirst() }
        guard let first = body.utf8.first else { return nil }
        let sign = isNegative ? "-" : ""
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where body.hasPrefix(prefix) {
            let rest = body.dropFirst(2)
            guard let next = rest.first, next.isHexDigit else { return nil }
            return Int64(sign + rest, radix: radix).map(Value.int)
        }
        if body.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            if first == UInt8(ascii: "0"), body.utf8.count > 1, let octal = Int64(sign + body, radix: 8) { return .int(octal) }
            if let integer = Int64(sign + body) { return .int(integer) }
            throw Unresolvable(message: "'\(text)' is too large for a whole number", fix: "Quote it if a text is meant.")
        }
        // Double takes more than YAML does: nan, inf, 0x1p3.
        let allowed = body.utf8.allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || ".eE+-".utf8.contains(byte)
        }
        guard allowed, body.utf8.contains(where: { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let number = Double(sign + body) else {
            return nil
        }
        return .double(number)
    }
}
