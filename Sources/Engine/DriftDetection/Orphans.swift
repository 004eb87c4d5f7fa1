package import ResourceModel

/// What of the held settings no spec speaks for any more: each with the fields in question, in the order of the addresses. Whether anything is
/// asked of their host does not matter.
package func orphans(of held: [HeldSetting], in desired: DesiredState, kinds: [RegisteredKind]) -> [HeldSetting] {
    guard !held.isEmpty else { return [] }
    let kindsByName = Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first }
    let resources = Dictionary(grouping: desired.resources, by: \.address.target)
    return held.compactMap { setting -> HeldSetting? in
        let candidates = (resources[setting.address.target] ?? []).filter { $0.handler == setting.handler }
        guard let kind = kindsByName[setting.handler] else { return setting }
        var orphan = setting
        orphan.fields.removeAll { field in candidates.contains { kind.declares($0, setting.address, field.path) } }
        return orphan.fields.isEmpty ? nil : orphan
    }
    .sorted { $0.address < $1.address }
}

extension HeldSetting {
    /// What of an orphan is worth saying: what is other than it was before Plumb, and, unless `repeats`, was not said before. nil: nothing.
    package func unreported(repeats: Bool) -> HeldSetting? {
        var setting = self
        setting.fields.removeAll { $0.before == $0.applied || ($0.isReported && !repeats) }
        return setting.fields.isEmpty ? nil : setting
    }

    /// What a plan says of one that is no longer declared.
    package var orphanNote: String {
        "\(address) is no longer declared; the host is left as it is (\(words)). To give it up: plumb release \(address) [--restore]"
    }
}

/// What a plan says of hosts that claim to be the same machine: images that were cloned, or one machine under two names.
///
/// - Parameter identities: of each target that answered, as in `TargetFacts.identity`.
package func cloneNotes(_ identities: [String: String], targets: [Target]) -> [String] {
    var names: [String: [(name: String, hostKey: String?)]] = [:]
    for target in targets {
        guard case .host = target, let text = identities[target.name] else { continue }
        let identity = TargetIdentity(of: target, as: text)
        if let id = identity.id { names[id, default: []].append((target.name, identity.hostKey)) }
    }
    return names.values.filter { $0.count > 1 }.map { clones in
        let list = clones.map(\.name).sorted().joined(separator: ", ")
        if Set(clones.map(\.hostKey)).count == 1 { return "\(list): one machine under several names (the same host key and machine-id)" }
        return "\(list) have the same machine-id, as cloned images have: if one takes the name of another, that goes unnoticed. "
            + "On each but one: rm /etc/machine-id && systemd-machine-id-setup"
    }
    .sorted()
}
