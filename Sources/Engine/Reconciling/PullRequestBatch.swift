import Observing
import Planning
import ResourceModel

/// Several pull requests against one observation of the live world.
///
/// - Guarantees: each host is asked once for all of them, and each cluster once for those whose authors may write and once for strangers, of whose
///   manifests and inventories nothing is read. What comes out for one is what it would be alone.
package struct PullRequestBatch: Sendable {
    package let passes: [PullRequestPass]
    /// By index, those that know a target by another way than the ones before: they are observed for themselves.
    package private(set) var apart: [Int] = []
    private var trusted = Union()
    private var strangers = Union()

    /// - Parameter passes: All with the same base.
    package init(_ passes: [PullRequestPass]) {
        self.passes = passes
        for (index, pass) in passes.enumerated() {
            let part = pass.observedPart
            guard trusted.fits(part), strangers.fits(part) else {
                apart.append(index)
                continue
            }
            if pass.strangersPart == nil { trusted.add(part) } else { strangers.add(part) }
        }
    }

    /// Asks each target and plans all of them, in their order.
    ///
    /// - Parameter world: What is asked of it for strangers, and for who may write.
    package func compare(
        concurrency: Int,
        with world: (_ isForStranger: Bool) -> PullRequestCollaborators
    ) async -> [PullRequestPass.Outcome] {
        let worlds = (trusted: world(false), strangers: world(true))
        let (trustedPart, strangersPart) = (trusted.desired, strangers.desired)
        // A host's probe is one constant script, whoever asks.
        var both = trusted
        both.add(strangersPart)
        async let hosts = observe(both.desired.only(hosts: true), concurrency: concurrency, observer: worlds.trusted.observe)
        async let clusters = observe(trustedPart.only(hosts: false), concurrency: concurrency, observer: worlds.trusted.observe)
        async let others = observe(strangersPart.only(hosts: false), concurrency: concurrency, observer: worlds.strangers.observe)
        var observed = (trusted: await clusters, strangers: await others)
        for (name, answer) in await hosts.targets {
            if trusted.targets[name] != nil { observed.trusted.targets[name] = answer }
            if strangers.targets[name] != nil { observed.strangers.targets[name] = answer }
        }
        var outcomes: [PullRequestPass.Outcome] = []
        for (index, pass) in passes.enumerated() {
            let isForStranger = pass.strangersPart != nil
            let world = isForStranger ? worlds.strangers : worlds.trusted
            if apart.contains(index) {
                outcomes.append(await pass.compare(with: world))
            } else if isForStranger {
                outcomes.append(await pass.compare(observed.strangers, asked: strangersPart, with: world))
            } else {
                outcomes.append(await pass.compare(observed.trusted, asked: trustedPart, with: world))
            }
        }
        return outcomes
    }

    /// What has to be asked for several passes: each target once and each object once, as the first of them has it.
    private struct Union {
        var targets: [String: Target] = [:]
        var resources: [ResourceAddress: DesiredResource] = [:]

        /// Whether all targets are reached in the same way.
        func fits(_ part: DesiredState) -> Bool { part.targets.allSatisfy { targets[$0.name]?.isReached(like: $0) ?? true } }

        mutating func add(_ part: DesiredState) {
            targets.merge(part.targets.map { ($0.name, $0) }) { first, _ in first }
            resources.merge(part.resources.map { ($0.address, $0) }) { first, _ in first }
        }

        var desired: DesiredState {
            DesiredState(
                targets: targets.values.sorted { $0.name < $1.name },
                resources: resources.values.sorted { ($0.address, $0.key) < ($1.address, $1.key) },
                contentHash: ""
            )
        }
    }
}

extension DesiredState {
    fileprivate func only(hosts: Bool) -> DesiredState {
        var part = self
        part.targets.removeAll { $0.isHost != hosts }
        let names = Set(part.targets.map(\.name))
        part.resources.removeAll { !names.contains($0.address.target) }
        return part
    }
}
