import KubernetesAPI
package import ResourceModel
import Values

/// Which of the inventory's objects a reading is about.
package enum InventoryScope: Sendable {
    /// None.
    case none
    /// All that this inventory has.
    case read(InventoryID)
    /// These, known from before.
    case known([OwnedResource])
}

/// What was seen of a cluster, and of its inventory.
package struct ClusterObservation: Sendable {
    package var observation: TargetObservation
    /// nil: the cluster could not be asked.
    package var inventory: InventoryFindings?
}

/// The inventory held against what is live.
package struct InventoryFindings: Sendable {
    /// What Plumb holds, declared still or not.
    package private(set) var owned: [OwnedResource] = []
    /// Where the inventory is behind what is live and what is declared. To be written by the next apply; a plan writes nothing.
    package private(set) var changes: [InventoryChange] = []
    /// The UIDs of the declared objects that are there, by address' resource part.
    package private(set) var uids: [String: String] = [:]
    /// Why the inventory could not be read.
    package private(set) var unreadable: String?

    init(_ sorted: OwnedObjects, _ objects: [String: ObservedObject], cluster: String) {
        unreadable = sorted.unreadable
        changes = sorted.changes
        for object in sorted.declared {
            guard let uid = objects[object.key]?.live?[path: "metadata", "uid"]?.stringValue else { continue }
            uids[object.key] = uid
        }
        for (entry, object) in sorted.known {
            var settled = Self.settled(entry, objects[object.key]) ?? entry
            settled.resource = object.key
            settled.isKept = object.resource.instructions.keepsWhenUndeclared
            settled.managesFieldsOnly = object.managesFieldsOnly
            if settled != entry { changes.append(.hold(settled)) }
            owned.append(settled.owned(at: cluster))
        }
        for (entry, object) in sorted.undeclared {
            guard let observed = objects[object.key] else { continue }
            // Gone, or another object in its place: nothing of it is ours any more.
            let isGone = observed.problem == nil && observed.live == nil
            let settled = Self.settled(entry, observed) ?? entry
            let isAnother = entry.uid != nil && settled.uid != entry.uid
            if isGone || isAnother || settled.isOnlyHeld && !(observed.live.map(Self.isHeld) ?? true) {
                changes.append(.forget(key: entry.key, uid: entry.uid))
                continue
            }
            if settled != entry { changes.append(.hold(settled)) }
            owned.append(settled.owned(at: cluster, as: object.key))
        }
    }

    /// The entry as it has to be in view of the live object; nil: it could not be seen.
    private static func settled(_ entry: InventoryEntry, _ observed: ObservedObject?) -> InventoryEntry? {
        guard let live = observed?.live, let uid = live[path: "metadata", "uid"]?.stringValue, uid != entry.uid else { return nil }
        var settled = entry
        settled.uid = uid
        // Without a UID an apply was cut short: was it still made? With another one, somebody else made this object.
        settled.isCreated = entry.uid == nil && entry.isCreated && isMadeByUs(live)
        return settled
    }

    private static func isHeld(_ live: Value) -> Bool {
        ManagedFieldsEntry.entries(of: live).contains { $0.isApply(by: KubernetesObject.fieldManager) }
    }

    /// Whether an object was made by our own apply: we set fields no later than it was made, and nobody else did. When in doubt, it was not.
    static func isMadeByUs(_ live: Value) -> Bool {
        guard let made = live[path: "metadata", "creationTimestamp"]?.stringValue else { return false }
        let entries = ManagedFieldsEntry.entries(of: live)
        guard let ours = entries.first(where: { $0.isApply(by: KubernetesObject.fieldManager) }), !ours.time.isEmpty, ours.time <= made else {
            return false
        }
        return entries.allSatisfy { $0 == ours || $0.time > made }
    }
}
