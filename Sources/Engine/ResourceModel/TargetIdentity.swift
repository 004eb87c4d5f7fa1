/// Who a target is: the machine or the cluster, whatever name or address it goes by.
package struct TargetIdentity: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        case host
        case cluster

        /// What its identity is called.
        package var word: String { self == .host ? "machine-id" : "UID of kube-system" }
    }

    package var kind: Kind
    /// The machine-id; the UID of namespace `kube-system`. nil: it can't be read, or is none.
    package var id: String?
    /// The fingerprint of the host key. It does not decide: known_hosts does that.
    package var hostKey: String?

    package init(kind: Kind, id: String?, hostKey: String? = nil) {
        self.kind = kind
        self.id = id
        self.hostKey = hostKey
    }

    /// From what a target said of itself (`TargetFacts.identity`).
    package init(of target: Target, as identity: String) {
        switch target {
        case .host:
            let parts = identity.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            let machine = parts.count == 2 ? parts[1] : ""
            self.init(kind: .host, id: Self.isMachineID(machine) ? machine : nil, hostKey: parts.first.flatMap { $0.isEmpty ? nil : $0 })
        case .cluster:
            // Where its UID can't be read it is told by its address, which another cluster could get.
            self.init(kind: .cluster, id: identity.isEmpty || identity.hasPrefix("address ") ? nil : identity)
        }
    }

    /// 32 hexadecimal digits, machine-id(5). An image has `uninitialized` or nothing until its first boot.
    package static func isMachineID(_ text: String) -> Bool {
        text.utf8.count == 32 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) } && text.utf8.contains { $0 != 48 }
    }
}

/// Who a target was when it was last met.
package struct KnownIdentity: Hashable, Sendable {
    package var kind: TargetIdentity.Kind
    package var id: String
    package var hostKey: String?
    /// Dates as a person reads them.
    package var firstSeen: String
    package var lastSeen: String

    package init(kind: TargetIdentity.Kind, id: String, hostKey: String? = nil, firstSeen: String, lastSeen: String) {
        self.kind = kind
        self.id = id
        self.hostKey = hostKey
        self.firstSeen = firstSeen
        self.lastSeen = lastSeen
    }
}

/// What comes of comparing who answers with who is known under that name.
package enum Recognition: Hashable, Sendable {
    /// Nobody is known under this name yet.
    case new
    case same
    /// Another one; why nothing is done there.
    case other(String)
    /// Neither equal nor different; what that means, or "" where it means nothing.
    case unknowable(String)
}

extension TargetIdentity {
    /// - Parameter known: everybody who is known, by name.
    package func recognised(as name: String, among known: [String: KnownIdentity]) -> Recognition {
        guard let id else {
            // Of clusters nothing is kept here but who they are.
            if kind == .cluster, known[name] == nil { return .unknowable("") }
            let what = kind == .host ? "its /etc/machine-id is empty or can't be read" : "the UID of its namespace kube-system can't be read"
            return .unknowable(
                "\(name): \(what), so it can't be told from another \(kind == .host ? "machine" : "cluster") of this name; "
                    + "what was kept of it is neither used nor added to"
            )
        }
        guard let before = known[name] else { return .new }
        if before.kind == kind, before.id == id { return .same }
        let kindThen = before.kind == kind ? "" : ", a \(before.kind.rawValue) then"
        let alias = known.filter { $0.value.kind == kind && $0.value.id == id }.keys.sorted().first.map { "; it is the one known as \($0)" } ?? ""
        return .other(
            "not the \(kind == .host ? "machine" : "cluster") of \(before.firstSeen) (\(before.kind.word) \(Self.short(before.id)) then, "
                + "last seen \(before.lastSeen)\(kindThen); \(kind.word) \(Self.short(id)) now\(alias)). "
                + "Nothing is done there. If that is as it should be: plumb accept \(name)"
        )
    }

    /// Enough to tell two apart; the whole of a machine-id is nobody else's business, machine-id(5).
    private static func short(_ id: String) -> String { id.count > 8 ? "\(id.prefix(8))…" : id }
}
