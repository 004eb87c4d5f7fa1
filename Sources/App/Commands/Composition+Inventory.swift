import Applying
import ClusterKinds
import Kubernetes
import KubernetesAPI
import Planning
import ResourceModel
import SpecSources
import Synchronization
import Values

/// What this run knows of the inventories in its clusters.
final class ClusterInventories: Sendable {
    private struct State {
        var findings: [String: InventoryFindings] = [:]
        /// What applies were answered: the object's UID, and whether they made it.
        var made: [ResourceAddress: (uid: String, isCreated: Bool)] = [:]
        /// Whether a cluster's inventory has what this run is about to make; nil: nothing was tried.
        var prepared: [String: Bool] = [:]
        var patience: Duration = .seconds(30)
    }

    let source: SourceIdentity
    private let state = Mutex(State())

    init(source: SourceIdentity) { self.source = source }

    func id(of cluster: Cluster) -> InventoryID { InventoryID(cluster: cluster.name, declared: cluster.inventory, source: source.id) }

    /// How long a deleted object may take to be gone.
    var patience: Duration {
        get { state.withLock { $0.patience } }
        set { state.withLock { $0.patience = newValue } }
    }

    func note(_ findings: InventoryFindings, of cluster: Cluster) { state.withLock { $0.findings[cluster.name] = findings } }

    func note(_ made: (uid: String, isCreated: Bool)?, at address: ResourceAddress) {
        guard let made else { return }
        state.withLock { $0.made[address] = made }
    }

    func findings(of cluster: Cluster) -> InventoryFindings? { state.withLock { $0.findings[cluster.name] } }

    func made(_ address: ResourceAddress) -> (uid: String, isCreated: Bool)? { state.withLock { $0.made[address] } }

    func setPrepared(_ isPrepared: Bool, _ cluster: Cluster) { state.withLock { $0.prepared[cluster.name] = isPrepared } }

    func isPrepared(_ cluster: Cluster) -> Bool? { state.withLock { $0.prepared[cluster.name] } }

    /// They are written down, and need not be again.
    func forgetChanges(of cluster: Cluster) { state.withLock { $0.findings[cluster.name] = nil } }
}

extension Composition {
    /// Looks at what was changed; what was deleted is waited for, as long as something still holds it.
    func observeAgain(_ target: Target, _ resources: [DesiredResource], _ actions: [Action]) async -> TargetObservation {
        let cluster: Cluster
        switch target {
        case .host(let host): return await observePart(of: host, kinds: Set(resources.map(\.handler) + actions.map(\.handler)))
        case .cluster(let other): cluster = other
        }
        let addresses = Set(actions.filter(\.isUndeclared).map(\.address))
        let owned = (inventories.findings(of: cluster)?.owned ?? []).filter { addresses.contains($0.address) }
        let deleted = Set(actions.filter(\.isPrune).map(\.address.resource))
        let end = ContinuousClock.now + inventories.patience
        while true {
            let observation = await observe(cluster, resources, inventory: .known(owned))
            guard case .observed(let facts) = observation, case .cluster(let objects) = facts.facts, ContinuousClock.now < end, !Task.isCancelled
            else { return observation }
            let isWaiting = deleted.contains { objects[$0]?.live?[path: "metadata", "deletionTimestamp"] != nil }
            guard isWaiting else { return observation }
            try? await Task.sleep(for: .milliseconds(300))
        }
    }

    /// Before the first change: everything that Plumb is about to hold. A Plumb that dies half-way leaves too much in the inventory, never too
    /// little, and what is too much deletes nothing.
    func recordHolding(_ target: Target, _ actions: [Action], _ desired: DesiredState) async -> Problem? {
        guard case .cluster(let cluster) = target, let findings = inventories.findings(of: cluster) else { return nil }
        let instructions = Dictionary(desired.resources.map { ($0.address, $0.instructions) }) { first, _ in first }
        let held = Set(findings.owned.map(\.address))
        var changes = findings.changes
        var creates = false
        for action in actions where !action.isUndeclared {
            let flags = instructions[action.address] ?? DesiredResource.Instructions()
            if action.operation == .create {
                creates = true
                changes.append(.hold(InventoryEntry(action.address, uid: nil, isCreated: true, flags)))
            } else if !held.contains(action.address), let uid = findings.uids[action.address.resource] {
                changes.append(.hold(InventoryEntry(action.address, uid: uid, isCreated: false, flags)))
            }
        }
        var why = findings.unreadable
        if why == nil { why = await write(changes, of: cluster) }
        inventories.setPrepared(why == nil, cluster)
        guard let why else { return nil }
        if creates {
            return Problem(
                target: cluster.name,
                status: .denied,
                message: "the inventory can't be written, and without it Plumb would not know later what it made: \(why). \(advice(cluster))"
            )
        }
        // Nothing is made here, so nothing can be forgotten that would have to be deleted one day.
        tell("\(cluster.name): what is held is not written down, so it won't be given up when it is no longer declared: \(why). \(advice(cluster))")
        return nil
    }

    /// After the last change: what came of it.
    func recordOutcome(_ target: Target, _ outcomes: [(Action, ActionOutcome)], _ desired: DesiredState) async {
        guard case .cluster(let cluster) = target, let findings = inventories.findings(of: cluster) else { return }
        if inventories.isPrepared(cluster) != true { return }
        let instructions = Dictionary(desired.resources.map { ($0.address, $0.instructions) }) { first, _ in first }
        let owned = Dictionary(findings.owned.map { ($0.address, $0) }) { first, _ in first }
        var changes = findings.changes
        for (action, outcome) in outcomes {
            let key = InventoryEntry.key(of: action.address.resource)
            switch (action.isUndeclared, action.operation, outcome) {
            case (true, _, .succeeded): changes.append(.forget(key: key, uid: owned[action.address]?.uid))
            case (true, _, _): break
            case (false, .create, _):
                if let made = inventories.made(action.address) {
                    let flags = instructions[action.address] ?? DesiredResource.Instructions()
                    changes.append(.hold(InventoryEntry(action.address, uid: made.uid, isCreated: made.isCreated, flags)))
                } else if case .skipped = outcome {
                    changes.append(.forget(key: key, uid: nil))
                }
            case (false, _, _): break
            }
        }
        if let why = await write(changes, of: cluster) {
            tell("\(cluster.name): the inventory is not up to date; the next apply sees to that: \(why)")
        } else {
            inventories.forgetChanges(of: cluster)
        }
    }

    /// For a cluster in which nothing was changed.
    func settleInventory(of cluster: Cluster) async {
        guard let findings = inventories.findings(of: cluster), findings.unreadable == nil, !findings.changes.isEmpty,
            inventories.isPrepared(cluster) != false
        else { return }
        if let why = await write(findings.changes, of: cluster) {
            tell("\(cluster.name): the inventory is not up to date: \(why). \(advice(cluster))")
        } else {
            inventories.forgetChanges(of: cluster)
        }
    }

    /// Takes objects out of the inventory that were given up (`ClusterKinds.release`).
    ///
    /// - Returns: why it could not be written; nil: it is.
    func forget(_ owned: [OwnedResource], at cluster: Cluster) async -> String? {
        // What was found out first: the UIDs are those that were seen, and the inventory may not have them yet.
        let known = inventories.findings(of: cluster)?.changes ?? []
        return await write(known + owned.map { .forget(key: InventoryEntry.key(of: $0.address.resource), uid: $0.uid) }, of: cluster)
    }

    private func write(_ changes: [InventoryChange], of cluster: Cluster) async -> String? {
        do throws(APIFailure) {
            let connection = try connection(to: cluster)
            return await ClusterKinds.record(changes, in: inventories.id(of: cluster), source: inventories.source.words) {
                (request) throws(APIFailure) in try await connection.send(request)
            }
        } catch {
            return error.message
        }
    }

    private func advice(_ cluster: Cluster) -> String {
        "A Role in namespace \(inventories.id(of: cluster).namespace) with apiGroups [\"\"], resources [configmaps], verbs [list, create, update, delete] "
            + "lets it; 'inventory: NAMESPACE/NAME' in the Cluster's spec keeps it in another namespace"
    }
}

extension InventoryEntry {
    fileprivate init(_ address: ResourceAddress, uid: String?, isCreated: Bool, _ flags: DesiredResource.Instructions) {
        self.init(
            resource: address.resource,
            uid: uid,
            isCreated: isCreated,
            managesFieldsOnly: flags.managesFieldsOnly,
            isKept: flags.keepsWhenUndeclared
        )
    }
}
