import KubernetesAPI
package import ResourceModel
import Values

/// One object in the inventory.
package struct InventoryEntry: Hashable, Sendable {
    /// `apps/v1/Deployment/ns/x`; the version is the one it was applied with.
    package var resource: String
    /// nil: it was about to be created, and nobody has seen yet what came of it.
    package var uid: String?
    /// Plumb made it, or was about to.
    package var isCreated: Bool
    package var managesFieldsOnly: Bool
    package var isKept: Bool

    package init(resource: String, uid: String?, isCreated: Bool, managesFieldsOnly: Bool = false, isKept: Bool = false) {
        self.resource = resource
        self.uid = uid
        self.isCreated = isCreated
        self.managesFieldsOnly = managesFieldsOnly
        self.isKept = isKept
    }

    /// What the object is, whatever version it is written in: `apps/Deployment/ns/x`.
    package var key: String { Self.key(of: resource) }

    package static func key(of resource: String) -> String {
        guard let address = ObjectAddress(resource) else { return resource }
        return ([address.groupVersion.group, address.kind] + [address.namespace, address.name].compactMap(\.self)).joined(separator: "/")
    }

    package func owned(at target: String, as resource: String? = nil) -> OwnedResource {
        OwnedResource(
            address: ResourceAddress(target: target, resource: resource ?? self.resource),
            kind: ObjectAddress(self.resource)?.kind ?? "",
            handler: KubernetesObject.kind.name,
            isCreated: isCreated,
            managesFieldsOnly: managesFieldsOnly,
            isKept: isKept,
            uid: uid
        )
    }

    /// It is given up and not deleted when it is no longer declared.
    var isOnlyHeld: Bool { !isCreated || managesFieldsOnly || isKept }

    /// One line of JSON, as a person finds it with `kubectl get configmap -o yaml`.
    var line: String {
        var members: [String: Value] = ["object": .string(resource)]
        if let uid { members["uid"] = .string(uid) }
        if isCreated { members["created"] = true }
        if managesFieldsOnly { members["fields"] = true }
        if isKept { members["keep"] = true }
        return Value.object(members).canonicalJSON
    }

    init?(_ value: Value) {
        guard let resource = value["object"]?.stringValue, ObjectAddress(resource) != nil else { return nil }
        self.init(
            resource: resource,
            uid: value["uid"]?.stringValue,
            isCreated: value["created"] == true,
            managesFieldsOnly: value["fields"] == true,
            isKept: value["keep"] == true
        )
    }
}

/// What is to be written down of one object.
package enum InventoryChange: Hashable, Sendable {
    case hold(InventoryEntry)
    /// Forgets the object with this key, as long as the inventory has it with this UID: another writer may know better.
    case forget(key: String, uid: String?)

    var key: String {
        switch self {
        case .hold(let entry): entry.key
        case .forget(let key, _): key
        }
    }
}
