import KubernetesAPI
import ResourceModel
import Values

/// The inventory's objects, sorted by whether they are declared still.
struct OwnedObjects: Sendable {
    var declared: [Declared]
    var known: [(entry: InventoryEntry, object: Declared)] = []
    /// With something to ask for them by.
    var undeclared: [(entry: InventoryEntry, object: Declared)] = []
    /// The kinds of the undeclared.
    var kinds: [APIResource] = []
    var changes: [InventoryChange] = []
    var notes: [String] = []
    var unreadable: String?

    init(declared: [Declared]) { self.declared = declared }
}

extension Declared {
    /// An object that no spec declares, as far as it takes to ask for it.
    init?(owned resource: String, at target: String) {
        guard let address = ObjectAddress(resource) else { return nil }
        var metadata: Value = ["name": .string(address.name)]
        if let namespace = address.namespace { metadata["namespace"] = .string(namespace) }
        self.init(
            DesiredResource(
                kind: address.kind,
                handler: KubernetesObject.kind.name,
                address: ResourceAddress(target: target, resource: resource),
                fields: ["apiVersion": .string(address.groupVersion.description), "kind": .string(address.kind), "metadata": metadata],
                origins: []
            )
        )
    }
}

extension ClusterReading {
    /// Sorts what the inventory has, and finds the kinds of what is no longer declared.
    func sort(_ server: Server) async throws(APIFailure) -> OwnedObjects {
        var sorted = OwnedObjects(declared: declared)
        let byKey = Dictionary(declared.map { (InventoryEntry.key(of: $0.key), $0) }) { first, _ in first }
        var entries: [InventoryEntry] = []
        var others: [String: (inventory: String, source: String, uid: String?)] = [:]
        switch (inventory, server.inventory) {
        case (.known(let owned), _): entries = owned.map(InventoryEntry.init)
        case (.read, .read(let inventory)?):
            entries = inventory.entries
            others = inventory.others
        case (.read, .unreadable(let why)?):
            sorted.unreadable = why
            sorted.notes.append("\(cluster): nothing is pruned, as the inventory can't be read: \(why)")
        default: break
        }
        var open: [InventoryEntry] = []
        for entry in entries {
            if let object = byKey[entry.key] {
                sorted.known.append((entry, object))
            } else if let other = others[entry.key], other.uid == nil || entry.uid == nil || other.uid == entry.uid {
                sorted.changes.append(.forget(key: entry.key, uid: entry.uid))
                sorted.notes.append(
                    "\(cluster)/\(entry.resource): is no longer declared here and stays, as inventory \(other.inventory) (\(other.source)) has it, too"
                )
            } else {
                open.append(entry)
            }
        }
        sorted.notes += strangers(byKey, others, known: Set(sorted.known.map(\.entry.key)))
        try await findKinds(of: open, server, &sorted)
        return sorted
    }

    /// Says it where declared objects were made by other specs: mostly these are the same ones at another place.
    private func strangers(
        _ declared: [String: Declared],
        _ others: [String: (inventory: String, source: String, uid: String?)],
        known: Set<String>
    ) -> [String] {
        let shared = others.filter { declared[$0.key].map { !$0.managesFieldsOnly } ?? false && !known.contains($0.key) }
        return Dictionary(grouping: shared.values, by: \.inventory).sorted { $0.key < $1.key }.map { inventory, entries in
            let count = entries.count == 1 ? "1 of the declared objects is" : "\(entries.count) of the declared objects are"
            return "\(cluster): \(count) in inventory \(inventory) (\(entries[0].source)). Where that is these same specs at another place, "
                + "'inventory: \(inventory)' in the Cluster's spec makes the two one; until then what it has is not pruned from here"
        }
    }

    /// A version that is served no longer is asked for under another one. A kind that is gone took its objects along.
    private func findKinds(of entries: [InventoryEntry], _ server: Server, _ sorted: inout OwnedObjects) async throws(APIFailure) {
        var versions: [GroupVersion: [APIResource]] = Dictionary(grouping: server.kinds, by: \.groupVersion)
        let wanted = Set(entries.compactMap { ObjectAddress($0.resource)?.groupVersion }).filter { versions[$0] == nil }
        let found = try await concurrently(wanted.sorted { $0.description < $1.description }, width: 8) { (version) throws(APIFailure) in
            (version, try await kinds(of: version))
        }
        for (version, kinds) in found { versions[version] = kinds }
        for entry in entries {
            guard let address = ObjectAddress(entry.resource) else { continue }
            var resource: String?
            if versions[address.groupVersion]?.contains(where: { $0.kind == address.kind }) ?? false {
                resource = entry.resource
            } else {
                switch try await otherVersion(of: address, &versions) {
                case .served(let version):
                    let rest = [address.namespace, address.name].compactMap(\.self).joined(separator: "/")
                    resource = "\(version)/\(address.kind)/\(rest)"
                case .gone: sorted.changes.append(.forget(key: entry.key, uid: entry.uid))
                case .unknown: break
                }
            }
            guard let resource, let object = Declared(owned: resource, at: cluster) else { continue }
            sorted.undeclared.append((entry, object))
        }
        let known = Set(server.kinds.map(\.groupVersion))
        sorted.kinds = versions.filter { !known.contains($0.key) }.values.flatMap(\.self)
    }

    private enum OtherVersion {
        case served(GroupVersion)
        case gone
        case unknown
    }

    private func otherVersion(
        of address: ObjectAddress,
        _ versions: inout [GroupVersion: [APIResource]]
    ) async throws(APIFailure) -> OtherVersion {
        guard !address.groupVersion.group.isEmpty else { return .unknown }
        let response = try await send(APIRequest(.get, "/apis/\(PercentEncoding.encodeSegment(address.groupVersion.group))"))
        if let status = APIStatus(response) { return status.code == 404 ? .gone : .unknown }
        let served = (response.body["versions"]?.arrayValue ?? []).compactMap { $0["groupVersion"]?.stringValue }.map { GroupVersion($0) }
        for version in served {
            let kinds = if let known = versions[version] { known } else { try await kinds(of: version) }
            // An aggregated API whose server is away has no kinds at all: that says nothing.
            if kinds.isEmpty { return .unknown }
            versions[version] = kinds
            if kinds.contains(where: { $0.kind == address.kind }) { return .served(version) }
        }
        return served.isEmpty ? .unknown : .gone
    }
}

extension InventoryEntry {
    init(_ owned: OwnedResource) {
        self.init(
            resource: owned.address.resource,
            uid: owned.uid,
            isCreated: owned.isCreated,
            managesFieldsOnly: owned.managesFieldsOnly,
            isKept: owned.isKept
        )
    }
}
