import KubernetesAPI
import Values

/// The inventory of one cluster as it was read: the ConfigMaps of these specs, and what those of others hold.
///
/// One ConfigMap holds some 700 KiB, well under the server's 1 MiB, that is 3,000 to 5,000 objects. An entry stays in its ConfigMap, so that a
/// write that gets only half through never loses one on its way to another.
struct ObjectInventory: Sendable {
    struct Shard: Sendable {
        var number: Int
        /// nil: not there yet.
        var resourceVersion: String?
        var uid: String?
        var entries: [String: InventoryEntry] = [:]
    }

    static let labels: Value = ["app.kubernetes.io/managed-by": "plumb", "app.kubernetes.io/component": "inventory"]
    static let selector = "app.kubernetes.io/managed-by=plumb,app.kubernetes.io/component=inventory"
    static let format = "1"
    private static let shardBytes = 700 * 1024

    let id: InventoryID
    private(set) var shards: [Shard] = []
    /// What inventories of other specs in this namespace hold, by key.
    private(set) var others: [String: (inventory: String, source: String, uid: String?)] = [:]

    /// - Throws: where a ConfigMap is not as Plumb writes it. Guessing what it holds would delete things.
    init(_ id: InventoryID, items: [Value]) throws(Damage) {
        self.id = id
        for item in items {
            let name = item[path: "metadata", "name"]?.stringValue ?? ""
            let data = item["data"]
            guard let owner = data?["inventory"]?.stringValue, let text = data?["objects"]?.stringValue, let format = data?["format"]?.stringValue
            else { throw Damage(message: "ConfigMap \(id.namespace)/\(name) is no inventory any more: somebody changed it") }
            guard format == Self.format else {
                throw Damage(message: "ConfigMap \(id.namespace)/\(name) is of a newer Plumb (format \(format)). Use that one")
            }
            var entries: [String: InventoryEntry] = [:]
            // Read as one document: for thousands of lines that is several times as fast.
            let lines = text.split(separator: "\n").joined(separator: ",")
            let values = (try? Value(json: "[\(lines)]".utf8))?.arrayValue ?? [.null]
            for value in values {
                guard let entry = InventoryEntry(value) else {
                    throw Damage(message: "ConfigMap \(id.namespace)/\(name) is damaged: it has a line that Plumb did not write")
                }
                entries[entry.key] = entry
            }
            if owner == id.name {
                shards.append(
                    Shard(
                        number: InventoryID.shardNumber(name),
                        resourceVersion: item[path: "metadata", "resourceVersion"]?.stringValue,
                        uid: item[path: "metadata", "uid"]?.stringValue,
                        entries: entries
                    )
                )
            } else {
                let source = data?["source"]?.stringValue ?? ""
                for (key, entry) in entries { others[key] = (owner, source, entry.uid) }
            }
        }
        shards.sort { $0.number < $1.number }
    }

    struct Damage: Error { var message: String }

    var entries: [InventoryEntry] { shards.flatMap(\.entries.values).sorted { $0.resource < $1.resource } }

    /// Makes the changes and returns the numbers of the ConfigMaps that have to be written.
    mutating func make(_ changes: [InventoryChange]) -> [Int] {
        var touched: Set<Int> = []
        var sizes = shards.map { shard in shard.entries.values.reduce(0) { $0 + $1.line.utf8.count + 1 } }
        var places: [String: Int] = [:]
        for (index, shard) in shards.enumerated() { for key in shard.entries.keys { places[key] = index } }
        for change in changes {
            switch change {
            case .forget(let key, let uid):
                guard let index = places[key], let entry = shards[index].entries[key], entry.uid == uid else { continue }
                shards[index].entries[key] = nil
                places[key] = nil
                touched.insert(index)
            case .hold(let entry):
                let size = entry.line.utf8.count + 1
                let index: Int
                if let known = places[entry.key] {
                    index = known
                    if shards[index].entries[entry.key] == entry { continue }
                } else if let room = sizes.firstIndex(where: { $0 + size <= Self.shardBytes }) {
                    index = room
                } else {
                    index = shards.count
                    let taken = Set(shards.map(\.number))
                    shards.append(Shard(number: (0...shards.count).first { !taken.contains($0) } ?? shards.count))
                    sizes.append(0)
                }
                shards[index].entries[entry.key] = entry
                places[entry.key] = index
                sizes[index] += size
                touched.insert(index)
            }
        }
        return touched.sorted()
    }

    /// The request that writes one ConfigMap: made, replaced as it was read, or taken away where nothing is left in it; nil: nothing to do.
    func request(_ index: Int, source: String) -> APIRequest? {
        let shard = shards[index]
        let name = id.shardName(shard.number)
        let path = InventoryID.configMaps.path(namespace: id.namespace, name: name)
        if shard.entries.isEmpty { return shard.uid.map { .delete(path, uid: $0, resourceVersion: shard.resourceVersion) } }
        var metadata: Value = ["name": .string(name), "namespace": .string(id.namespace), "labels": Self.labels]
        if let version = shard.resourceVersion { metadata["resourceVersion"] = .string(version) }
        let lines = shard.entries.values.sorted { $0.resource < $1.resource }.map(\.line)
        let body: Value = [
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": [
                "format": .string(Self.format), "inventory": .string(id.name), "source": .string(source),
                "objects": .string(lines.joined(separator: "\n") + "\n"),
            ],
        ]
        guard shard.resourceVersion != nil else {
            return .create(InventoryID.configMaps, namespace: id.namespace, body: body, fieldManager: KubernetesObject.fieldManager)
        }
        return .replace(path, body: body, fieldManager: KubernetesObject.fieldManager)
    }
}
