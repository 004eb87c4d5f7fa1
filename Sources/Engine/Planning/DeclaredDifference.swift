package import ResourceModel
package import Values

/// A field that two revisions declare differently. nil: not declared.
package struct DeclaredField: Hashable, Sendable {
    package var path: String
    package var base: Value?
    package var head: Value?

    package init(path: String, base: Value?, head: Value?) {
        self.path = path
        self.base = base
        self.head = head
    }
}

/// A resource that two revisions declare differently, as text: nothing live is in it.
package struct DeclaredDifference: Hashable, Sendable {
    package enum Operation: String, Hashable, Sendable, CaseIterable {
        case added
        case changed
        case removed
    }

    package var address: ResourceAddress
    package var kind: String
    package var operation: Operation
    package var fields: [DeclaredField]

    package init(address: ResourceAddress, kind: String, operation: Operation, fields: [DeclaredField]) {
        self.address = address
        self.kind = kind
        self.operation = operation
        self.fields = fields
    }
}

/// A host or cluster that two revisions reach differently, or that only one of them has.
package struct TargetDifference: Hashable, Sendable {
    package var name: String
    package var isHost: Bool
    package var operation: DeclaredDifference.Operation
    /// What decides where one comes out and as whom: address, port, user, become, hostKeys; context, inventory.
    package var fields: [DeclaredField]

    package init(name: String, isHost: Bool, operation: DeclaredDifference.Operation, fields: [DeclaredField]) {
        self.name = name
        self.isHost = isHost
        self.operation = operation
        self.fields = fields
    }
}

/// Compares how two revisions reach their targets, in the order of the names.
package func targetDifferences(from base: [Target], to head: [Target]) -> [TargetDifference] {
    let before = Dictionary(base.map { ($0.name, $0) }) { first, _ in first }
    let after = Dictionary(head.map { ($0.name, $0) }) { first, _ in first }
    return Set(before.keys).union(after.keys).sorted().compactMap { name in
        switch (before[name], after[name]) {
        case (nil, let new?):
            return TargetDifference(name: name, isHost: new.isHost, operation: .added, fields: new.login.map { .init(path: $0, base: nil, head: $1) })
        case (let old?, nil):
            return TargetDifference(name: name, isHost: old.isHost, operation: .removed, fields: [])
        case (let old?, let new?):
            let (here, there) = (Dictionary(uniqueKeysWithValues: old.login), Dictionary(uniqueKeysWithValues: new.login))
            let fields = Set(here.keys).union(there.keys).sorted().filter { here[$0] != there[$0] }.map {
                DeclaredField(path: $0, base: here[$0], head: there[$0])
            }
            return fields.isEmpty ? nil : TargetDifference(name: name, isHost: new.isHost, operation: .changed, fields: fields)
        case (nil, nil): return nil
        }
    }
}

extension Target {
    package var isHost: Bool { if case .host = self { true } else { false } }

    /// Where one comes out, and as whom.
    fileprivate var login: [(String, Value)] {
        var login: [(String, Value)] = []
        switch self {
        case .host(let host):
            login.append(("address", .string(host.address)))
            if let port = host.port { login.append(("port", .int(Int64(port)))) }
            if let user = host.user { login.append(("user", .string(user))) }
            if host.become != .none { login.append(("become", .string(host.become.rawValue))) }
            if !host.hostKeys.isEmpty { login.append(("hostKeys", .array(host.hostKeys.map(Value.string)))) }
        case .cluster(let cluster):
            login.append(("context", cluster.context.map(Value.string) ?? .null))
            if let inventory = cluster.inventory { login.append(("inventory", .string(inventory))) }
        }
        return login
    }
}

extension Value {
    /// Every leaf with its path, in a stable order. Empty collections are leaves.
    func leaves(at path: String = "") -> [(path: String, value: Value)] {
        switch self {
        case .object(let members) where !members.isEmpty:
            members.sorted { $0.key < $1.key }.flatMap { $0.value.leaves(at: Self.path(path, member: $0.key)) }
        case .array(let elements) where !elements.isEmpty:
            elements.enumerated().flatMap { $0.element.leaves(at: "\(path)[\($0.offset)]") }
        default: [(path, self)]
        }
    }

    /// `metadata.annotations["a/b"]`, as plans write it.
    static func path(_ path: String, member: String) -> String {
        let isPlain =
            !member.isEmpty
            && member.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
                }
            }
        let parent = path.split(separator: ".").last ?? ""
        if !isPlain || namedByPeople.contains(String(parent)) { return "\(path)[\"\(member)\"]" }
        return path.isEmpty ? member : "\(path).\(member)"
    }

    /// Mappings of Kubernetes' kinds whose keys are names that somebody chose, and no fields.
    private static var namedByPeople: Set<String> {
        ["annotations", "labels", "data", "stringData", "binaryData", "matchLabels", "nodeSelector", "limits", "requests", "hard"]
    }
}
