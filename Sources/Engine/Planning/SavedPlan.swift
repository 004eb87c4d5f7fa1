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
    /// Of each target, the inventory that said what was held there, where it could be read.
    package var inventories: [String: String]
    /// What the digests of sensitive values in this file are keyed with; made for this one file.
    package var digestKey: String
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
        guard document["digestKey"] != nil else {
            throw Refusal(reason: "was printed by --output json, which keeps too little to be compared: plan again with --out FILE.json")
        }
        let reader = Reader(document)
        digestKey = try reader.text("digestKey")
        planID = try reader.text("planID")
        revision = document["revision"] == .null ? nil : try reader.text("revision")
        source = try reader.text("source")
        contentHash = try reader.text("contentHash")
        selection = try reader.texts("selection")
        identities = [:]
        inventories = [:]
        for target in try reader.list("targets") {
            let name = try target.text("target")
            identities[name] = try target.text("identity")
            inventories[name] = try target.textOrNone("inventory")
        }
        changes = []
        var seen: Set<ResourceAddress> = []
        for reader in try reader.list("changes") {
            let change = try PlannedChange(reader)
            guard seen.insert(change.address).inserted else {
                throw Refusal(reason: "is damaged: it has \(change.address) twice; plan again")
            }
            changes.append(change)
        }
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
    /// Keyed hash that tells whether a sensitive value in it has changed; empty where there is none, or no key.
    package var sensitiveDigest: String
    package var risk: Risk
    package var fingerprint: String

    /// - Parameter digestKey: of the file that it is compared with, or goes into.
    package init(_ action: Action, digestKey: String? = nil) {
        address = action.address
        operation = action.operation
        fields = action.fields.map {
            FieldDifference(path: $0.path, observed: $0.observed?.asRead.unlessNull, desired: $0.desired?.asRead.unlessNull)
        }
        steps = action.steps.map(\.summary)
        stepsDigest = action.stepsDigest
        sensitiveDigest = digestKey.map(action.sensitiveDigest) ?? ""
        risk = action.risk
        fingerprint = action.fingerprint
    }

    fileprivate init(_ reader: Reader) throws(SavedPlan.Refusal) {
        let parts = try reader.text("address").split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw Reader.damaged("address") }
        address = ResourceAddress(target: String(parts[0]), resource: String(parts[1]))
        guard let operation = Action.Operation(rawValue: try reader.text("action")) else { throw Reader.damaged("action") }
        guard let risk = Risk(rawValue: try reader.text("risk")) else { throw Reader.damaged("risk") }
        self.operation = operation
        self.risk = risk
        fields = []
        for field in try reader.list("fields") { fields.append(try field.difference()) }
        steps = try reader.texts("steps")
        stepsDigest = try reader.text("stepsDigest")
        sensitiveDigest = try reader.text("sensitiveDigest")
        fingerprint = try reader.text("fingerprint")
    }
}

/// Takes members out of a document, each of which has to be there and of its type.
private struct Reader {
    private let value: Value

    init(_ value: Value) { self.value = value }

    static func damaged(_ member: String) -> SavedPlan.Refusal {
        SavedPlan.Refusal(reason: "is damaged: '\(member)' is missing or not as it should be; plan again")
    }

    func difference() throws(SavedPlan.Refusal) -> FieldDifference {
        FieldDifference(path: try text("path"), observed: value["observed"]?.unlessNull, desired: value["desired"]?.unlessNull)
    }

    func text(_ name: String) throws(SavedPlan.Refusal) -> String {
        guard let text = value[name]?.stringValue else { throw Self.damaged(name) }
        return text
    }

    func textOrNone(_ name: String) throws(SavedPlan.Refusal) -> String? {
        value[name] == nil ? nil : try text(name)
    }

    func texts(_ name: String) throws(SavedPlan.Refusal) -> [String] {
        guard let elements = value[name]?.arrayValue else { throw Self.damaged(name) }
        let texts = elements.compactMap(\.stringValue)
        guard texts.count == elements.count else { throw Self.damaged(name) }
        return texts
    }

    func list(_ name: String) throws(SavedPlan.Refusal) -> [Reader] {
        guard let elements = value[name]?.arrayValue else { throw Self.damaged(name) }
        return elements.map(Reader.init)
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

    /// JSON has one word for "nothing there". A plain nil would be the value null here.
    fileprivate var unlessNull: Value? { self == .null ? Value?.none : .some(self) }
}
