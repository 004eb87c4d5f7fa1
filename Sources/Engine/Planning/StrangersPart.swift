package import ResourceModel
import Values

/// What of a pull request may be held against the live world where its author could not have looked there by other means.
///
/// Only what the base declares is read, compared or told of, by address and by field; whatever else the head says is text.
package struct StrangersPart: Sendable {
    /// The base without Secrets: what is read.
    package var base: DesiredState
    /// The head as far as it speaks of nothing but what `base` declares, reached as the base reaches it.
    package var head: DesiredState
    /// All else that the head declares otherwise than the base, in the order of the addresses.
    package var declared: [DeclaredDifference] = []
    /// Objects of the base that are not looked at since they hold secrets.
    package var secrets: [ResourceAddress] = []

    /// Synchronous, total, deterministic.
    ///
    /// - Parameter comparesValues: False: fields that the head declares otherwise are text as well. Where live values are hidden, that one differs
    ///   or not would answer a guess at it.
    package init(base: DesiredState, head: DesiredState, comparesValues: Bool) {
        self.base = base
        self.base.resources.removeAll(where: \.isSecret)
        secrets = base.resources.filter(\.isSecret).map(\.address)
        self.head = base
        self.head.contentHash = head.contentHash
        self.head.notes = []
        let kept = Dictionary(head.targets.map { ($0.name, $0.isHost) }) { first, _ in first }
        self.head.targets.removeAll { kept[$0.name] != $0.isHost }
        self.head.resources = []
        let targets = Set(self.head.targets.map(\.name))

        var open = Dictionary(base.resources.map { (Identity($0), $0) }) { first, _ in first }
        for resource in head.resources {
            guard let old = open.removeValue(forKey: Identity(resource)) else {
                declared.append(DeclaredDifference(resource, .added, resource.fields.leaves().map { .init(path: $0, base: nil, head: $1) }))
                continue
            }
            var overlay = Overlay(comparesValues: comparesValues && !old.isSecret && !resource.isSecret, hasKnownLists: old.hasKnownLists)
            var comparable = old
            comparable.fields = overlay.lay(resource.fields, over: old.fields, at: "")
            if old.instructions != resource.instructions {
                overlay.fields.append(DeclaredField(path: "(plumb/* annotations)", base: .string("as before"), head: .string("other ones")))
            }
            if !overlay.fields.isEmpty { declared.append(DeclaredDifference(resource, .changed, overlay.fields)) }
            if !old.isSecret, targets.contains(old.address.target) { self.head.resources.append(comparable) }
        }
        declared += open.values.map { DeclaredDifference($0, .removed, []) }
        declared.sort { ($0.address, $0.fields.first?.path ?? "") < ($1.address, $1.fields.first?.path ?? "") }
        self.head.resources.sort { ($0.address, $0.key) < ($1.address, $1.key) }
    }

    private struct Identity: Hashable {
        var address: ResourceAddress
        var handler: String
        var key: String

        init(_ resource: DesiredResource) {
            address = resource.address
            handler = resource.handler
            key = resource.key
        }
    }
}

extension DesiredResource {
    /// Reading it reads secrets.
    package var isSecret: Bool { kind == "Secret" && fields["apiVersion"] == "v1" || fields.holdsSecrets }

    /// Its lists are those of Kubernetes' own kinds, so it is known by which members their elements are told apart.
    fileprivate var hasKnownLists: Bool {
        guard let version = fields["apiVersion"]?.stringValue, let slash = version.firstIndex(of: "/") else { return true }
        let group = version[..<slash]
        return !group.contains(".") || group.hasSuffix(".k8s.io")
    }
}

extension DeclaredDifference {
    fileprivate init(_ resource: DesiredResource, _ operation: Operation, _ fields: [DeclaredField]) {
        self.init(address: resource.address, kind: resource.kind, operation: operation, fields: fields)
    }
}

extension Value {
    fileprivate var holdsSecrets: Bool {
        switch self {
        case .sensitive: true
        case .array(let elements): elements.contains(where: \.holdsSecrets)
        case .object(let members): members.values.contains(where: \.holdsSecrets)
        default: false
        }
    }

    fileprivate var isScalar: Bool {
        switch self {
        case .bool, .int, .double, .string: true
        case .null, .array, .object, .sensitive: false
        }
    }
}

/// Lays a head's fields over a base's, so that nothing is asserted where the base asserts nothing.
private struct Overlay {
    let comparesValues: Bool
    let hasKnownLists: Bool
    /// What the head says beyond that.
    var fields: [DeclaredField] = []

    /// By these members servers tell the elements of a list apart, in one kind or another. What they say decides which element is looked at.
    private static let keys: Set = [
        "name", "mountPath", "devicePath", "ip", "topologyKey", "whenUnsatisfiable", "uid", "containerPort", "port", "protocol", "key", "type",
        "resourceName", "driver", "pool", "device", "id", "kind", "namespace", "apiGroup", "apiVersion", "host", "hostname", "path",
    ]

    init(comparesValues: Bool, hasKnownLists: Bool) {
        self.comparesValues = comparesValues
        self.hasKnownLists = hasKnownLists
    }

    mutating func lay(_ head: Value, over base: Value, at path: String) -> Value {
        if head == base { return base }
        switch (base, head) {
        case (.object(let old), .object(let new)) where !old.isEmpty && !new.isEmpty:
            var members: [String: Value] = [:]
            for name in Set(old.keys).union(new.keys).sorted() {
                let inner = Value.path(path, member: name)
                switch (old[name], new[name]) {
                case (let old?, let new?): members[name] = lay(new, over: old, at: inner)
                case (nil, let new?): fields += new.leaves(at: inner).map { DeclaredField(path: $0, base: nil, head: $1) }
                case (let old?, nil): fields += old.leaves(at: inner).map { DeclaredField(path: $0, base: $1, head: nil) }
                case (nil, nil): break
                }
            }
            return .object(members)
        case (.array(let old), .array(let new)) where hasKnownLists && Self.areAlike(old, new):
            return .array(zip(old, new).enumerated().map { lay($0.element.1, over: $0.element.0, at: "\(path)[\($0.offset)]") })
        case _ where base.isScalar && head.isScalar && comparesValues:
            return head
        default:
            fields.append(DeclaredField(path: path, base: base, head: head))
            return base
        }
    }

    /// Whether each element of one is the same thing as that of the other, with other values of the same fields.
    private static func areAlike(_ old: [Value], _ new: [Value]) -> Bool {
        old.count == new.count
            && zip(old, new).allSatisfy { old, new in
                guard let old = old.objectValue, let new = new.objectValue else { return old == new }
                return old.keys == new.keys && old.allSatisfy { !keys.contains($0.key) || new[$0.key] == $0.value }
            }
    }
}
