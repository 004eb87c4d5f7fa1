import Planning
import ResourceModel

/// How much may be changed at the same time, and when it has gone wrong often enough. Clusters do not count as hosts.
package struct ApplyBudget: Sendable, Hashable {
    /// Hosts that are being changed or verified at the same time; nil: as many as targets may be.
    package var maxUnavailable: Int?
    /// The first so many hosts that have actions, by name, come first; everything else only once all their actions have succeeded.
    package var canary: Int?
    /// Once more actions than these have failed, nothing new starts; nil: everything that can be done is done.
    package var maxFailures: Int?

    package init(maxUnavailable: Int? = nil, canary: Int? = nil, maxFailures: Int? = nil) {
        self.maxUnavailable = maxUnavailable
        self.canary = canary
        self.maxFailures = maxFailures
    }
}

/// The part of an apply that goes first: all actions of the canaries, and what these depend on, wherever that is.
struct CanaryStage: Sendable {
    /// The actions of the canaries, by their place in the plan.
    let canaries: Set<Int>
    /// The same, and what they depend on.
    let admitted: Set<Int>

    /// Nil where there is no canary.
    init?(_ actions: [Action], indices: [ResourceAddress: Int], hosts: Set<String>, count: Int) {
        let names = Set(Set(actions.map(\.address.target)).intersection(hosts).sorted().prefix(max(0, count)))
        guard !names.isEmpty else { return nil }
        canaries = Set(actions.indices.filter { names.contains(actions[$0].address.target) })
        var admitted = canaries
        var open = Array(canaries)
        while let index = open.popLast() {
            for dependency in actions[index].dependsOn {
                if let before = indices[dependency], admitted.insert(before).inserted { open.append(before) }
            }
        }
        self.admitted = admitted
    }
}
