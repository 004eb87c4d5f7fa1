import KubernetesAPI

/// Which inventory of a cluster is meant. Specs see, prune and release only what their own inventory has.
package struct InventoryID: Hashable, Sendable {
    /// Every cluster has it, and who may write there is chosen with care.
    package static let defaultNamespace = "kube-system"

    package var namespace: String
    package var name: String

    package init(namespace: String = Self.defaultNamespace, name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// - Parameters:
    ///   - declared: what the Cluster's spec says: `NAME` or `NAMESPACE/NAME`. It goes where the specs go, so it is believed.
    ///   - source: a hash of where the specs come from. Without a name of their own, two repositories that both call their cluster `home` must not
    ///     prune each other's objects, so the place decides. Specs that moved are strangers then, which costs a prune and never an object.
    package init(cluster: String, declared: String?, source: String) {
        guard let declared else {
            self.init(name: "\(cluster.prefix(190))-\(source)")
            return
        }
        let parts = declared.split(separator: "/").map(String.init)
        self.init(namespace: parts.count > 1 ? parts[0] : Self.defaultNamespace, name: parts.last ?? declared)
    }

    /// As it is written in a Cluster's spec.
    package var words: String { namespace == Self.defaultNamespace ? name : "\(namespace)/\(name)" }

    static let configMaps = APIResource(groupVersion: GroupVersion("v1"), kind: "ConfigMap", plural: "configmaps", isNamespaced: true)

    // A name can have dots and dashes in it; what comes before it can't be taken for a part of another one.
    func shardName(_ number: Int) -> String { number == 0 ? "plumb-inventory-\(name)" : "plumb-inventory.\(number).\(name)" }

    static func shardNumber(_ configMap: String) -> Int {
        guard configMap.hasPrefix("plumb-inventory.") else { return 0 }
        return Int(configMap.split(separator: ".")[1]) ?? 0
    }
}
