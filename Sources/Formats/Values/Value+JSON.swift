import Foundation

extension Value {
    /// JSON with sorted keys and no spaces: the same value always gives the same text, so it can be hashed.
    /// Sensitive values appear as the string `(sensitive)`.
    package var canonicalJSON: String {
        var text = ""
        write(into: &text, exposing: false)
        return text
    }

    /// JSON with sensitive values in it, for the body of a request, for what goes into a keyed hash, and for nothing else.
    package var exposedJSON: String {
        var text = ""
        write(into: &text, exposing: true)
        return text
    }

    private func write(into text: inout String, exposing: Bool) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .int(let value): text += String(value)
        case .double(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): value.writeJSON(into: &text)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() {
                if index > 0 { text += "," }
                element.write(into: &text, exposing: exposing)
            }
            text += "]"
        case .object(let members):
            text += "{"
            var isFirst = true
            for (key, value) in members.sorted(by: { $0.key < $1.key }) {
                if !isFirst { text += "," }
                isFirst = false
                key.writeJSON(into: &text)
                text += ":"
                value.write(into: &text, exposing: exposing)
            }
            text += "}"
        case .sensitive(let value):
            if exposing {
                value.exposed.write(into: &text, exposing: true)
            } else {
                SensitiveValue.placeholder.writeJSON(into: &text)
            }
        }
    }
}

extension String {
    fileprivate func writeJSON(into text: inout String) {
        text += "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

extension Value: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([Value].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: Value].self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .int(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        case .sensitive: try container.encode(SensitiveValue.placeholder)
        }
    }

    /// Parses JSON text, keeping integers apart from fractions.
    ///
    /// - Throws: `DecodingError` where the bytes are no JSON document.
    package init(json bytes: some Sequence<UInt8>) throws {
        let any = try JSONSerialization.jsonObject(with: Data(bytes), options: [.fragmentsAllowed])
        self = Value(jsonObject: any)
    }

    private init(jsonObject any: Any) {
        // By type first: a cast that fails looks for bridges, and takes longer than parsing the text did.
        let type = type(of: any)
        if type == String.self, let text = any as? String {
            self = .string(text)
        } else if type == [String: Any].self, let object = any as? [String: Any] {
            self = .object(object.mapValues(Value.init(jsonObject:)))
        } else if type == [Any].self, let array = any as? [Any] {
            self = .array(array.map(Value.init(jsonObject:)))
        } else if type != NSNull.self, let number = any as? NSNumber {
            self = Value(number, isBool: type == Bool.self)
        } else {
            self = .null
        }
    }

    /// Booleans and numbers share a class on every platform; the type code tells them apart.
    private init(_ number: NSNumber, isBool: Bool) {
        if isBool || String(cString: number.objCType) == "c" {
            self = .bool(number.boolValue)
        } else if let integer = Int64(exactly: number) {
            self = .int(integer)
        } else {
            self = .double(number.doubleValue)
        }
    }
}
