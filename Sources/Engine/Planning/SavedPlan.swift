import Crypto
package import ResourceModel
package import Values

/// A plan as a file holds it. It is never carried out, only compared with a new plan of the same specs: see `compare`.
package struct SavedPlan: Sendable, Hashable {
    package static let formatVersion = "1"

    package var planID: String
    package var revision: String?
    package var source: String
    package var contentHash: String
    package var selection: [String]
    package var identities: [String: String]
    package var changes: [PlannedChange]

    /// Why a file is not taken for a plan; a clause that follows its name.
    package struct Refusal: Error, Hashable, Sendable {
        package var reason: String

        package init(reason: String) { self.reason = reason }
    }

    /// Reads a plan's document strictly: it has to be what was written, whole.
    ///
    /// The checksum shows damage and edits. It is no signature: who can write the file can make a new one. All that such a file can bring about is
    /// that actions which this Plumb plans itself, from these specs and this world, are run or not.
    package init(document: Value) throws(Refusal) {
        guard case .object = document, let format = document["formatVersion"] else { throw Refusal(reason: "is no plan of Plumb") }
        guard case .string(Self.formatVersion) = format else {
            let words = format.stringValue.flatMap(Int.init).map { $0 > 1 ? "newer than" : "older than" } ?? "not"
            throw Refusal(
                reason: "has the format '\(format)', which is \(words) what this Plumb reads ('\(Self.formatVersion)'): plan again with this one"
            )
        }
        guard let checksum = document["checksum"] else {
            throw Refusal(reason: "has no checksum: it was written by an older Plumb, or is not whole; plan again")
        }
        var rest = document
        rest["checksum"] = nil
        guard checksum == .string(Self.checksum(of: rest)) else {
            throw Refusal(reason: "was changed after it was written: its checksum does not fit; plan again")
        }
        var reader = Reader(document)
        planID = reader.text("planID")
        revision = document["revision"] == .null ? nil : reader.text("revision")
        source = reader.text("source")
        contentHash = reader.text("contentHash")
        selection = reader.list("selection").compactMap { $0.text() }
        identities = [:]
        for var target in reader.list("targets") { identities[target.text("target")] = target.text("identity") }
        changes = []
        var seen: Set<ResourceAddress> = []
        for var change in reader.list("changes") {
            guard let change = PlannedChange(&change), seen.insert(change.address).inserted else {
                throw Refusal(reason: "is damaged: a change in it can't be read, or is there twice; plan again")
            }
            changes.append(change)
        }
        if let missing = reader.missing { throw Refusal(reason: "is damaged: '\(missing)' is missing or is of the wrong type; plan again") }
    }

    /// SHA-256 of the canonical JSON of a plan's document without its member `checksum`.
    package static func checksum(of document: Value) -> String {
        var hash = SHA256()
        hash.update(data: Array(document.canonicalJSON.utf8))
        return hash.hex
    }
}

/// One action of a plan, as far as a file holds it.
package struct PlannedChange: Sendable, Hashable {
    package var address: ResourceAddress
    package var operation: Action.Operation
    package var fields: [FieldDifference]
    /// What would be run or sent, in words.
    package var steps: [String]
    package var stepsDigest: String
    package var risk: Risk
    package var fingerprint: String

    package init(_ action: Action) {
        address = action.address
        operation = action.operation
        fields = action.fields.map {
            FieldDifference(path: $0.path, observed: $0.observed?.asRead.unlessNull, desired: $0.desired?.asRead.unlessNull)
        }
        steps = action.steps.map(\.summary)
        stepsDigest = action.stepsDigest
        risk = action.risk
        fingerprint = action.fingerprint
    }

    fileprivate init?(_ reader: inout Reader) {
        let parts = reader.text("address").split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let operation = Action.Operation(rawValue: reader.text("action")), let risk = Risk(rawValue: reader.text("risk"))
        else { return nil }
        address = ResourceAddress(target: String(parts[0]), resource: String(parts[1]))
        self.operation = operation
        self.risk = risk
        fields = reader.list("fields").compactMap { field in
            var field = field
            let path = field.text("path")
            return field.missing == nil ? field.difference(path) : nil
        }
        steps = reader.list("steps").compactMap { $0.text() }
        stepsDigest = reader.text("stepsDigest")
        fingerprint = reader.text("fingerprint")
        guard reader.missing == nil, fields.count == reader.list("fields").count, steps.count == reader.list("steps").count else { return nil }
    }
}

/// Takes members out of a document and remembers the first that is not as it should be.
private struct Reader {
    private let value: Value
    private(set) var missing: String?

    init(_ value: Value) { self.value = value }

    func difference(_ path: String) -> FieldDifference {
        FieldDifference(path: path, observed: value["observed"]?.unlessNull, desired: value["desired"]?.unlessNull)
    }

    /// The value itself, where it is text.
    func text() -> String? { value.stringValue }

    mutating func text(_ name: String) -> String {
        if let text = value[name]?.stringValue { return text }
        missing = missing ?? name
        return ""
    }

    mutating func list(_ name: String) -> [Reader] {
        if let elements = value[name]?.arrayValue { return elements.map(Reader.init) }
        missing = missing ?? name
        return []
    }
}

extension Value {
    /// What is found when this is written as JSON and read again: whole numbers are integers, sensitive values are gone.
    package var asRead: Value {
        switch self {
        case .null, .bool, .int, .string: self
        case .double(let number): number.isFinite ? Int64(exactly: number).map(Value.int) ?? self : .null
        case .array(let elements): .array(elements.map(\.asRead))
        case .object(let members): .object(members.mapValues(\.asRead))
        case .sensitive: .string(SensitiveValue.placeholder)
        }
    }

    fileprivate var unlessNull: Value? { self == .null ? nil : self }
}
