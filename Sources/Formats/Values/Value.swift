/// Structured data that Plumb compares: fields of a spec, facts of a host, an object of a cluster.
package enum Value: Hashable, Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case array([Value])
    case object([String: Value])
    /// A value that must never be shown. It compares like any other and renders as `(sensitive)`.
    case sensitive(SensitiveValue)
}

/// A value that can't be printed, encoded or logged; only the driver that sends it asks for `exposed`.
package struct SensitiveValue: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let box: Box

    package init(_ value: Value) { box = Box(value: value) }

    /// The value itself, for sending to where it belongs and for nothing else.
    package var exposed: Value { box.value }

    package static let placeholder = "(sensitive)"
    package var description: String { Self.placeholder }
    package var debugDescription: String { Self.placeholder }
    package var customMirror: Mirror { Mirror(self, children: []) }

    // A class keeps the value out of `dump` and out of the enum's inline storage.
    private final class Box: Hashable, Sendable, CustomReflectable {
        let value: Value
        init(value: Value) { self.value = value }
        static func == (a: Box, b: Box) -> Bool { a.value == b.value }
        func hash(into hasher: inout Hasher) { hasher.combine(value) }
        var customMirror: Mirror { Mirror(self, children: []) }
    }
}

extension Value: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int64) { self = .int(value) }
    package init(arrayLiteral elements: Value...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, Value)...) { self = .object(Dictionary(elements) { $1 }) }
    package init(nilLiteral: ()) { self = .null }
}

extension Value {
    package var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var intValue: Int64? { if case .int(let value) = self { value } else { nil } }
    package var arrayValue: [Value]? { if case .array(let value) = self { value } else { nil } }
    package var objectValue: [String: Value]? { if case .object(let value) = self { value } else { nil } }

    /// The member of an object; setting nil removes it. Setting on anything that is no object makes it one.
    package subscript(key: String) -> Value? {
        get { objectValue?[key] }
        set {
            var members = objectValue ?? [:]
            members[key] = newValue
            self = .object(members)
        }
    }

    /// The member at the end of a path of object keys.
    package subscript(path keys: String...) -> Value? {
        var value: Value? = self
        for key in keys { value = value?[key] }
        return value
    }
}

extension Value: CustomStringConvertible {
    /// One line a person can read: strings bare, collections as JSON. Not for machines.
    package var description: String {
        switch self {
        case .string(let text): text
        case .sensitive: SensitiveValue.placeholder
        default: canonicalJSON
        }
    }
}
