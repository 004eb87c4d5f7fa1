package import Planning
package import ResourceModel

/// Which actions may run now. A plain value without a clock or a connection; `apply` carries out what it says.
///
/// - Guarantees: one batch a target at a time; an action runs only after all it depends on succeeded; what depends on a failure is
///   skipped, everything else goes on; phases of one target keep their order; what is no longer declared goes last, and only where all
///   else at its target succeeded.
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
    private var states: [State]
    private var indices: [ResourceAddress: Int] = [:]
    private var pendingByTarget: [String: [Int]] = [:]
    private var runningTargets: Set<String> = []

    /// - Parameter limit: how many targets are changed at the same time.
    package init(_ actions: [Action], limit: Int) {
        self.actions = actions
        self.limit = max(1, limit)
        states = Array(repeating: .waiting, count: actions.count)
        for (index, action) in actions.enumerated() {
            indices[action.address] = index
            pendingByTarget[action.address.target, default: []].append(index)
        }
    }

    package var isFinished: Bool { runningTargets.isEmpty && pendingByTarget.isEmpty }

    /// Whether something of a target runs or may still run.
    package func hasActions(of target: String) -> Bool { runningTargets.contains(target) || pendingByTarget[target] != nil }

    /// Takes the batches that can start now.
    package mutating func start() -> [Batch] {
        var batches: [Batch] = []
        for target in pendingByTarget.keys.sorted() where !runningTargets.contains(target) {
            guard runningTargets.count < limit else { break }
            let pending = pendingByTarget[target] ?? []
            let isOnlyUndeclared = pending.allSatisfy { actions[$0].isUndeclared }
            let ready = pending.filter { index in
                (isOnlyUndeclared || !actions[index].isUndeclared)
                    && actions[index].dependsOn.allSatisfy { dependency in indices[dependency].map { states[$0] == .done } ?? true }
            }
            guard let phase = ready.map({ actions[$0].phase }).min() else { continue }
            let batch = ready.filter { actions[$0].phase == phase }
            for index in batch { states[index] = .running }
            remove(Set(batch), from: target)
            runningTargets.insert(target)
            batches.append(Batch(target: target, actions: batch.map { actions[$0] }))
        }
        return batches
    }

    /// Takes note of a batch's end and returns the actions that can no longer run, each with the reason.
    package mutating func finish(_ batch: Batch, failed: Set<ResourceAddress>) -> [(Action, String)] {
        runningTargets.remove(batch.target)
        var newlyFailed: [ResourceAddress] = []
        // Targets at which something that is declared could not be made so.
        var incomplete: [String: ResourceAddress] = [:]
        for action in batch.actions {
            guard let index = indices[action.address] else { continue }
            states[index] = failed.contains(action.address) ? .failed : .done
            guard failed.contains(action.address) else { continue }
            newlyFailed.append(action.address)
            if !action.isUndeclared { incomplete[batch.target] = action.address }
        }
        var skipped: [(Action, String)] = []
        while let cause = newlyFailed.popLast() {
            for (target, pending) in pendingByTarget.sorted(by: { $0.key < $1.key }) {
                let lost = pending.filter { actions[$0].dependsOn.contains(cause) }
                for index in lost {
                    states[index] = .failed
                    skipped.append((actions[index], "depends on \(cause), which did not succeed"))
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
        return skipped
    }

    /// Gives up everything that has not started and returns it, in the order of the plan.
    package mutating func abandon() -> [Action] {
        let lost = pendingByTarget.values.flatMap(\.self).sorted()
        for index in lost { states[index] = .failed }
        pendingByTarget = [:]
        return lost.map { actions[$0] }
    }

    private mutating func remove(_ lost: Set<Int>, from target: String) {
        guard !lost.isEmpty else { return }
        let left = (pendingByTarget[target] ?? []).filter { !lost.contains($0) }
        pendingByTarget[target] = left.isEmpty ? nil : left
    }
}
