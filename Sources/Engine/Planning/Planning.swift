import Crypto
package import DriftDetection
import HeapModule
package import ResourceModel
import Values

/// Decides what is done, and in which order. Synchronous, total, deterministic: the same input gives the same plan, to the byte.
///
/// - Guarantees: every resource of the drift is an action, unchanged, or a problem. No action depends on a problem: what does is a
///   problem itself (`blocked: waits for …`). Actions are ordered so that each comes after those it depends on. Nothing is pruned at a target
///   where something can't be made as it is declared: what goes may be what the rest still needs.
/// - Parameters:
///   - maxDeletes: more prunes than this, and the plan is refused whole.
///   - undoObstacles: by target, why no undo could be armed there; what may cut the connection is blocked then.
package func plan(
    _ drift: Drift,
    kinds: [RegisteredKind],
    contentHash: String,
    revision: String?,
    source: String,
    maxDeletes: Int = defaultMaxDeletes,
    undoObstacles: [String: String] = [:]
) -> Plan {
    let kindsByName = Dictionary(kinds.map { ($0.name, $0) }) { first, _ in first }
    var plan = Plan(planID: "", revision: revision, source: source, contentHash: contentHash, problems: drift.targetProblems, notes: drift.notes)
    plan.inventories = drift.inventories
    plan.identities = drift.identities.mapValues { SHA256.hex([$0]) }
    var candidates: [Action] = []
    var hash = SHA256()
    hash.update(lines: [revision ?? "", contentHash])
    for (target, identity) in drift.identities.sorted(by: { $0.key < $1.key }) { hash.update(lines: [target, identity]) }

    for resource in drift.resources {
        plan.notes += resource.notes
        let operation: Action.Operation
        switch resource.standing {
        case .inSync:
            plan.unchanged.append(resource.address)
            continue
        case .problem(let status, let message):
            plan.problems.append(Problem(target: resource.address.target, address: resource.address, status: status, message: message))
            continue
        case .missing: operation = .create
        case .differs: operation = .update
        case .surplus: operation = .delete
        }
        let change = kindsByName[resource.handler]?.change(resource) ?? Change(steps: [])
        guard !change.steps.isEmpty else {
            plan.problems.append(
                Problem(
                    target: resource.address.target,
                    address: resource.address,
                    status: .invalid,
                    message: "it differs, but there is no step that would change it; this is a mistake in Plumb, please report it"
                )
            )
            continue
        }
        if change.risk == .disconnecting, let obstacle = undoObstacles[resource.address.target] {
            let message = "it may cut the connection, and no undo could be armed, so it is not made: \(obstacle)"
            plan.problems.append(Problem(target: resource.address.target, address: resource.address, status: .blocked, message: message))
            continue
        }
        let fingerprint = SHA256.hex([drift.identities[resource.address.target] ?? "", resource.fingerprint.canonicalJSON])
        hash.update(lines: [resource.address.description, operation.rawValue, fingerprint])
        var candidate =
            Action(
                address: resource.address,
                kind: resource.kind,
                handler: resource.handler,
                operation: operation,
                fields: resource.differences,
                steps: change.steps,
                risk: change.risk,
                reason: resource.reason,
                fingerprint: fingerprint,
                dependsOn: resource.dependsOn.sorted(),
                phase: resource.phase,
                isUndeclared: resource.isUndeclared
            )
        candidate.settle = resource.settle
        candidates.append(candidate)
    }

    let ordering = order(candidates, drift: drift, problems: plan.problems)
    plan.actions = ordering.actions
    plan.problems += ordering.blocked
    let undeclared = drift.resources.filter(\.isUndeclared).map { ($0.address, $0.phase) }
    let paused = Set(drift.resources.filter(\.isPaused).map(\.address))
    let temporary = plan.problems.filter { problem in
        ![.held, .contested].contains(problem.status) || problem.address.map(paused.contains) ?? false
    }
    plan.withholdPrunes(undeclared: Dictionary(undeclared) { first, _ in first }, because: temporary)
    plan.refuse(above: maxDeletes)
    plan.sortProblems()
    plan.planID = String(hash.hex.prefix(16))
    return plan
}

/// Sorts topologically (Kahn), by phase and address where nothing else decides, and takes out what can't go ahead.
private func order(_ candidates: [Action], drift: Drift, problems: [Problem]) -> (actions: [Action], blocked: [Problem]) {
    var obstacles: [ResourceAddress: String] = [:]
    var deadTargets: [String: String] = [:]
    for problem in problems {
        if let address = problem.address {
            obstacles[address] = problem.status.rawValue
        } else {
            deadTargets[problem.target] = problem.status.rawValue
        }
    }
    let known = Set(drift.resources.map(\.address))
    var blocked: [Problem] = []
    var actions: [Action] = []
    let indices = Dictionary(uniqueKeysWithValues: candidates.enumerated().map { ($1.address, $0) })
    var dependents: [[Int]] = Array(repeating: [], count: candidates.count)
    var open = Array(repeating: 0, count: candidates.count)
    for (index, action) in candidates.enumerated() {
        for dependency in action.dependsOn {
            if let before = indices[dependency] {
                dependents[before].append(index)
                open[index] += 1
            }
        }
    }

    func candidate(_ index: Int) -> ReadyCandidate {
        ReadyCandidate(phase: candidates[index].phase, address: candidates[index].address, index: index)
    }
    var ready = Heap(candidates.indices.filter { open[$0] == 0 }.map(candidate))
    var done = 0
    while let index = ready.popMin()?.index {
        done += 1
        let action = candidates[index]
        let obstacle = action.dependsOn.lazy.compactMap { dependency -> String? in
            if drift.waitedFor.contains(dependency) { return "\(dependency) (not as declared yet)" }
            if let status = obstacles[dependency] { return "\(dependency) (\(status))" }
            if let status = deadTargets[dependency.target] { return "\(dependency) (\(dependency.target) is \(status))" }
            if !known.contains(dependency), drift.identities[dependency.target] == nil { return "\(dependency) (not observed)" }
            return nil
        }.first
        if let obstacle {
            blocked.append(
                Problem(target: action.address.target, address: action.address, status: .blocked, message: "waits for \(obstacle)")
            )
            obstacles[action.address] = ProblemStatus.blocked.rawValue
        } else {
            actions.append(action)
        }
        for dependent in dependents[index] {
            open[dependent] -= 1
            if open[dependent] == 0 { ready.insert(candidate(dependent)) }
        }
    }
    if done < candidates.count {
        // Cycles between specs are diagnostics at load; this one came of a kind's own dependencies.
        for index in candidates.indices where open[index] > 0 {
            let action = candidates[index]
            let message = "waits in a circle: it depends on \(action.dependsOn.map(\.description).joined(separator: ", "))"
            blocked.append(Problem(target: action.address.target, address: action.address, status: .invalid, message: message))
        }
    }
    return (actions, blocked)
}

private struct ReadyCandidate: Comparable {
    var phase: Int
    var address: ResourceAddress
    var index: Int

    static func < (a: Self, b: Self) -> Bool { (a.phase, a.address) < (b.phase, b.address) }
}
