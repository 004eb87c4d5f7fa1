package import KubernetesAPI
package import ResourceModel
package import Values

/// What an event says of one object.
package enum SeenObject: Hashable, Sendable {
    case there(Value)
    case gone
}

/// The declared objects that one watch tells of.
package struct WatchedObjects: Hashable, Sendable {
    /// All are of one kind and namespace, so the name tells them apart.
    private var byName: [String: [ResourceAddress]] = [:]

    package var addresses: [ResourceAddress] { byName.values.flatMap(\.self).sorted() }

    fileprivate mutating func add(_ object: Declared) { byName[object.name, default: []].append(object.resource.address) }

    /// What an event says of declared objects; a list speaks of all of them. Secrets are hidden.
    package func seen(in event: WatchEvent) -> [ResourceAddress: SeenObject] {
        switch event {
        case .listed(let objects):
            var seen: [ResourceAddress: SeenObject] = [:]
            for address in byName.values.joined() { seen[address] = .gone }
            for object in objects {
                for address in addresses(of: object) { seen[address] = .there(Secrets.hide(object)) }
            }
            return seen
        case .changed(let object): return Dictionary(addresses(of: object).map { ($0, .there(Secrets.hide(object))) }) { first, _ in first }
        case .deleted(let object): return Dictionary(addresses(of: object).map { ($0, .gone) }) { first, _ in first }
        case .restarted: return [:]
        }
    }

    private func addresses(of object: Value) -> [ResourceAddress] {
        object[path: "metadata", "name"]?.stringValue.flatMap { byName[$0] } ?? []
    }
}

extension ClusterMemory {
    /// What has to be watched to hear of every declared object: a kind in a namespace where three or more of it are declared there, else single
    /// objects. Kinds that the server does not have yet, or that can't be watched, are not among it.
    package func watches(for resources: [DesiredResource]) -> [ObjectWatch: WatchedObjects] {
        let kinds = servedKinds
        var groups: [ObjectWatch: [Declared]] = [:]
        for object in resources.map(Declared.init) {
            guard kinds.isServed(object), let api = kinds.api(object), api.verbs.isEmpty || api.verbs.isSuperset(of: ["list", "watch"]),
                !api.isNamespaced || object.namespace != nil
            else { continue }
            groups[ObjectWatch(api, namespace: api.isNamespaced ? object.namespace : nil), default: []].append(object)
        }
        var watches: [ObjectWatch: WatchedObjects] = [:]
        for (watch, objects) in groups {
            let isSingle = objects.count < ClusterReading.listThreshold
            for object in objects {
                var watch = watch
                if isSingle { watch.name = object.name }
                watches[watch, default: WatchedObjects()].add(object)
            }
        }
        return watches
    }
}
