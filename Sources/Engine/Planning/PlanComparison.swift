package import ResourceModel
import Values

/// What became of a saved plan: each of its changes and each action of the new plan is in exactly one list.
package struct PlanComparison: Sendable {
    package struct Stale: Sendable, Hashable {
        package var planned: PlannedChange
        /// What would be done there now; nil: nothing could.
        package var now: Action?
        /// Why it can't be run as it was planned; a clause.
        package var reason: String
    }

    /// Planned, and still exactly what would be done; in the order of the new plan.
    package var identical: [Action]
    /// Planned, but what would be done now is something else.
    package var stale: [Stale]
    /// Planned, and so already.
    package var unneeded: [ResourceAddress]
    /// Would be done now, and was not planned.
    package var unplanned: [Action]
}

/// Compares a saved plan with a new one of the same specs. Synchronous, total, deterministic.
///
/// - Guarantees: an action is identical only if address, operation, fingerprint, desired fields, steps, sensitive values and risk are as saved, its target is the same
///   machine or cluster, and so are all actions it depends on; of what is no longer declared, also all else at its target. Whatever could not be observed is stale, never "no longer needed".
package func compare(_ saved: SavedPlan, with plan: Plan) -> PlanComparison {
    var comparison = PlanComparison(identical: [], stale: [], unneeded: [], unplanned: [])
    let actions = Dictionary(plan.actions.map { ($0.address, $0) }) { first, _ in first }
    let world = NewWorld(plan)
    var planned: [ResourceAddress: PlannedChange] = [:]
    // Why what depends on these can't run either.
    var lost: [ResourceAddress: String] = [:]

    for change in saved.changes {
        let now = actions[change.address]
        planned[change.address] = change
        if let reason = world.otherMachine(at: change.address.target, saved: saved) {
            comparison.stale.append(.init(planned: change, now: now, reason: reason))
        } else if let now {
            let difference = change.difference(from: PlannedChange(now, digestKey: saved.digestKey))
            guard let reason = difference ?? world.otherInventory(for: now, saved: saved) else { continue }
            comparison.stale.append(.init(planned: change, now: now, reason: reason))
        } else if let reason = world.obstacle(to: change.address, saved: saved) {
            comparison.stale.append(.init(planned: change, now: nil, reason: reason))
        } else {
            comparison.unneeded.append(change.address)
        }
        if now != nil { lost[change.address] = "which is stale" }
    }
    let stale = Set(comparison.stale.map(\.planned.address))
    for action in plan.actions {
        guard let change = planned[action.address] else {
            comparison.unplanned.append(action)
            lost[action.address] = "which was not planned"
            continue
        }
        if stale.contains(action.address) { continue }
        // Actions come after those they depend on, so each loss is known by now.
        if let cause = action.dependsOn.first(where: { lost[$0] != nil }) {
            let reason = "depends on \(cause), \(lost[cause] ?? "")"
            comparison.stale.append(.init(planned: change, now: action, reason: reason))
            lost[action.address] = "which is stale"
        } else {
            comparison.identical.append(action)
        }
    }
    comparison.withholdPrunes(planned, lost)
    return comparison
}

extension PlanComparison {
    /// As in a plan itself: what is no longer declared stays where something that is declared is not made so.
    fileprivate mutating func withholdPrunes(_ planned: [ResourceAddress: PlannedChange], _ lost: [ResourceAddress: String]) {
        let open = (stale.compactMap(\.now) + unplanned).filter { !$0.isUndeclared }.map(\.address)
        let causes = Dictionary(open.map { ($0.target, $0) }) { first, _ in first }
        for action in identical where action.isUndeclared {
            guard let cause = causes[action.address.target], let change = planned[action.address] else { continue }
            let reason = "stays until all else at \(cause.target) is as declared: waits for \(cause), \(lost[cause] ?? "")"
            stale.append(.init(planned: change, now: action, reason: reason))
        }
        identical.removeAll { $0.isUndeclared && causes[$0.address.target] != nil }
    }
}

extension PlannedChange {
    /// Why the other is not the same action; nil: it is.
    fileprivate func difference(from now: PlannedChange) -> String? {
        func desired(_ change: PlannedChange) -> [[Value]] { change.fields.map { [.string($0.path), $0.desired ?? .null] } }
        if operation != now.operation { return "was planned as \(operation.rawValue), would now be \(now.operation.rawValue)" }
        if fingerprint != now.fingerprint { return "what is live there has changed since" }
        if desired(self) != desired(now) { return "other fields would be changed now" }
        if steps != now.steps || stepsDigest != now.stepsDigest { return "other steps would be run now" }
        if sensitiveDigest != now.sensitiveDigest { return "a sensitive value that is part of it has changed" }
        if risk != now.risk { return "its risk was '\(risk.rawValue)' and is now '\(now.risk.rawValue)'" }
        return nil
    }
}

/// The new plan, asked about what is not among its actions.
private struct NewWorld {
    private let identities: [String: String]
    private let inventories: [String: String]
    private let unchanged: Set<ResourceAddress>
    private let problems: [String: [Problem]]

    init(_ plan: Plan) {
        identities = plan.identities
        inventories = plan.inventories
        unchanged = Set(plan.unchanged)
        problems = Dictionary(grouping: plan.problems, by: \.target)
    }

    func otherMachine(at target: String, saved: SavedPlan) -> String? {
        guard let now = identities[target] else {
            // The problem itself is told once, with all others of the new plan.
            guard let problem = problems[target]?.first(where: { $0.address == nil }) else { return "\(target) could not be observed" }
            return "\(target) is \(problem.status.rawValue), so it could not be observed"
        }
        guard let before = saved.identities[target] else { return "the plan does not say for which machine named \(target) it was made" }
        if before == now { return nil }
        return "another machine answers to the name \(target) than the one the plan was made for: "
            + "its host key, its machine-id or, of a cluster, its UID is another"
    }

    /// What is created has to be known where it was planned, or nobody there would ever prune it.
    func otherInventory(for action: Action, saved: SavedPlan) -> String? {
        let target = action.address.target
        guard action.operation == .create, let before = saved.inventories[target], let now = inventories[target], now != before else { return nil }
        return "it would be held in the inventory \(now) here, not in \(before): these specs are applied from another place. "
            + "Give the Cluster 'inventory: NAME', and they may be anywhere"
    }

    /// Why it is not known that the address is as declared; nil: it is.
    func obstacle(to address: ResourceAddress, saved: SavedPlan) -> String? {
        if unchanged.contains(address) { return nil }
        let here = problems[address.target] ?? []
        if let problem = here.first(where: { $0.address == address }) { return "is \(problem.status.rawValue) now: \(problem.message)" }
        // A chain that is gone has no address any more. That counts only if its table could be read.
        let kind = address.resource.prefix { $0 != "/" }
        let unread = here.first { $0.status.preventsReading && $0.address?.resource.prefix { $0 != "/" } == kind }
        if let unread { return "could not be observed: \(unread.message)" }
        // What is no longer declared is known of by its inventory alone.
        guard let before = saved.inventories[address.target], inventories[address.target] != before else { return nil }
        guard let now = inventories[address.target] else { return "is not declared, and the inventory \(before), which had it, can't be read" }
        return "is not declared, and what Plumb holds is looked up in the inventory \(now) here, not in \(before): "
            + "these specs were applied from another place"
    }
}
