package import Planning
package import ResourceModel

/// Which actions may run now. A plain value without a clock or a connection; `apply` carries out what it says.
///
/// - Guarantees: one batch a target at a time; an action runs only after all it depends on succeeded; what depends on a failure is
///   skipped, everything else goes on unless the budget says otherwise; phases of one target keep their order; what is no longer declared goes
///   last, and only where all else at its target succeeded.
package struct ApplySchedule: Sendable {
    /// Actions of one target that run one after another and are verified together.
    package struct Batch: Sendable, Hashable {
        package var target: String
        package var actions: [Action]
    }

    private enum State: Hashable {
        case waiting
        case running
        case done
        case failed
    }

    private let actions: [Action]
    private let limit: Int
    private let budget: ApplyBudget
    private let hosts: Set<String>
    private var states: [State]
    private var indices: [ResourceAddress: Int] = [:]
    private var pendingByTarget: [String: [Int]] = [:]
    private var runningTargets: Set<String> = []
    private var startedTargets: Set<String> = []
    private var failures = 0
    /// What actions depend on and no action changes: as declared in its cluster, and perhaps not ready.
    package private(set) var awaited: Set<ResourceAddress> = []
    /// While the canaries run.
    private var canary: CanaryStage?

    /// - Parameters:
    ///   - limit: how many targets are changed at the same time.
    ///   - hosts: the targets that the budget counts.
    ///   - clusters: the targets whose resources have to be ready before what depends on them starts.
    package init(
        _ actions: [Action],
        limit: Int,
        budget: ApplyBudget = ApplyBudget(),
        hosts: Set<String> = [],
        clusters: Set<String> = []
    ) {
        self.actions = actions
        self.limit = max(1, limit)
        self.budget = budget
        self.hosts = hosts
        states = Array(repeating: .waiting, count: actions.count)
        for (index, action) in actions.enumerated() {
            indices[action.address] = index
            pendingByTarget[action.address.target, default: []].append(index)
        }
        awaited = Set(actions.flatMap(\.dependsOn).filter { clusters.contains($0.target) && indices[$0] == nil })
        canary = budget.canary.flatMap { CanaryStage(actions, indices: indices, hosts: hosts, count: $0) }
    }

    package var isFinished: Bool { runningTargets.isEmpty && pendingByTarget.isEmpty }

    /// Whether something of a target runs or may still run.
    package func hasActions(of target: String) -> Bool { runningTargets.contains(target) || pendingByTarget[target] != nil }

    /// Takes the batches that can start now.
    package mutating func start() -> [Batch] {
        var batches: [Batch] = []
        var unavailable = runningTargets.count { hosts.contains($0) }
        // Where hosts are rationed, one that was begun is finished before the next is touched.
        let order = pendingByTarget.keys.filter { !runningTargets.contains($0) }.sorted {
            (startedTargets.contains($0) ? 0 : 1, $0) < (startedTargets.contains($1) ? 0 : 1, $1)
        }
        for target in order {
            guard runningTargets.count < limit else { break }
            let isHost = hosts.contains(target)
            if isHost, let most = budget.maxUnavailable, unavailable >= max(1, most) { continue }
            let pending = pendingByTarget[target] ?? []
            let isOnlyUndeclared = pending.allSatisfy { actions[$0].isUndeclared }
            let ready = pending.filter { index in
                canary?.admitted.contains(index) != false
                    && (isOnlyUndeclared || !actions[index].isUndeclared)
                    && actions[index].dependsOn.allSatisfy { dependency in
                        indices[dependency].map { states[$0] == .done } ?? !awaited.contains(dependency)
                    }
            }
            guard let phase = ready.map({ actions[$0].phase }).min() else { continue }
            var batch = ready.filter { actions[$0].phase == phase }
            // Each failure has to be known before the next action starts.
            if budget.maxFailures != nil { batch = Array(batch.prefix(1)) }
            for index in batch { states[index] = .running }
            remove(Set(batch), from: target)
            runningTargets.insert(target)
            startedTargets.insert(target)
            if isHost { unavailable += 1 }
            batches.append(Batch(target: target, actions: batch.map { actions[$0] }))
        }
        return batches
    }

    /// Takes note of a batch's end and returns the actions that can no longer run, each with the reason.
    ///
    /// - Parameter notRun: actions of the batch that were not begun.
    package mutating func finish(
        _ batch: Batch,
        failed: Set<ResourceAddress>,
        notRun: Set<ResourceAddress> = []
    ) -> [(Action, String)] {
        runningTargets.remove(batch.target)
        var newlyFailed: [ResourceAddress] = []
        for action in batch.actions {
            guard let index = indices[action.address] else { continue }
            let isLost = failed.contains(action.address) || notRun.contains(action.address)
            states[index] = isLost ? .failed : .done
            if isLost { newlyFailed.append(action.address) }
        }
        failures += failed.count
        return skip(newlyFailed) { "depends on \($0), which did not succeed" } + enforceBudget()
    }

    /// Takes note that something awaited is ready, or won't be.
    ///
    /// - Parameter failure: Why not; nil: it is.
    /// - Returns: what can no longer run, each with the reason.
    package mutating func resolve(_ address: ResourceAddress, failure: String?) -> [(Action, String)] {
        awaited.remove(address)
        guard let failure else { return [] }
        // A canary can be lost to this as well, and then nothing else would ever say so to the rest.
        return skip([address]) { $0 == address ? failure : "depends on \($0), which did not succeed" } + enforceBudget()
    }

    /// Gives up what depends on these, directly or not.
    private mutating func skip(_ lost: [ResourceAddress], why: (ResourceAddress) -> String) -> [(Action, String)] {
        var newlyFailed = lost
        var skipped: [(Action, String)] = []
        // Targets at which something that is declared could not be made so.
        var incomplete: [String: ResourceAddress] = [:]
        for address in lost {
            if let index = indices[address], !actions[index].isUndeclared { incomplete[address.target] = address }
        }
        while let cause = newlyFailed.popLast() {
            for (target, pending) in pendingByTarget.sorted(by: { $0.key < $1.key }) {
                let lost = pending.filter { actions[$0].dependsOn.contains(cause) }
                for index in lost {
                    states[index] = .failed
                    skipped.append((actions[index], why(cause)))
                    newlyFailed.append(actions[index].address)
                    if !actions[index].isUndeclared { incomplete[target] = actions[index].address }
                }
                remove(Set(lost), from: target)
            }
        }
        for (target, cause) in incomplete.sorted(by: { $0.key < $1.key }) {
            let lost = (pendingByTarget[target] ?? []).filter { actions[$0].isUndeclared }
            for index in lost {
                states[index] = .failed
                skipped.append((actions[index], "no longer declared, but it stays as \(cause) did not succeed"))
            }
            remove(Set(lost), from: target)
        }
        return skipped + keepWhatStillServes(lost)
    }

    /// Where something is not gone, what goes in later phases may still be needed for its end: an operator, while an object waits for its finalizer.
    private mutating func keepWhatStillServes(_ lost: [ResourceAddress]) -> [(Action, String)] {
        var skipped: [(Action, String)] = []
        for cause in lost.compactMap({ indices[$0] }) where actions[cause].isPrune {
            let target = actions[cause].address.target
            let kept = (pendingByTarget[target] ?? []).filter { actions[$0].isUndeclared && actions[$0].phase > actions[cause].phase }
            for index in kept {
                states[index] = .failed
                skipped.append((actions[index], "no longer declared, but it stays as long as \(actions[cause].address) is not gone"))
            }
            remove(Set(kept), from: target)
        }
        return skipped
    }

    private mutating func enforceBudget() -> [(Action, String)] {
        if let most = budget.maxFailures, failures > most {
            let reason = "not started, since \(failures == 1 ? "1 action" : "\(failures) actions") failed (--max-failures \(most))"
            return abandon().map { ($0, reason) }
        }
        guard let stage = canary else { return [] }
        if stage.canaries.allSatisfy({ states[$0] == .done }) {
            canary = nil
            return []
        }
        guard let cause = stage.canaries.first(where: { states[$0] == .failed }) else { return [] }
        // The other canaries go on; nobody else begins.
        let reason = "not started, since \(actions[cause].address) of a canary did not succeed (--canary)"
        return abandon { !stage.admitted.contains($0) }.map { ($0, reason) }
    }

    /// Gives up what has not started, all of it or what `isLost` names by its place, and returns it in the order of the plan.
    package mutating func abandon(where isLost: (Int) -> Bool = { _ in true }) -> [Action] {
        let lost = pendingByTarget.values.flatMap(\.self).filter(isLost).sorted()
        for index in lost { states[index] = .failed }
        for (target, indices) in Dictionary(grouping: lost, by: { actions[$0].address.target }) { remove(Set(indices), from: target) }
        return lost.map { actions[$0] }
    }

    private mutating func remove(_ lost: Set<Int>, from target: String) {
        guard !lost.isEmpty else { return }
        let left = (pendingByTarget[target] ?? []).filter { !lost.contains($0) }
        pendingByTarget[target] = left.isEmpty ? nil : left
    }
}
