package import Observing
package import Planning
package import ResourceModel

/// What a comparison of two revisions needs of the world. Nothing of it writes anything anywhere.
package struct PullRequestCollaborators: Sendable {
    package var observe: TargetObserver
    /// What a server would make of these manifests of the head, whose objects were read already: for authors who may write, and for them alone.
    package var predict: @Sendable (Target, [DesiredResource], TargetFacts) async -> TargetFacts
    /// The facts without what says which fields were declared once and are no longer.
    package var withoutPast: @Sendable (TargetFacts) -> TargetFacts
    /// The facts as if no server had been asked what it would make of a manifest.
    package var withoutPredictions: @Sendable (TargetFacts) -> TargetFacts

    package init(
        observe: @escaping TargetObserver,
        predict: @escaping @Sendable (Target, [DesiredResource], TargetFacts) async -> TargetFacts,
        withoutPast: @escaping @Sendable (TargetFacts) -> TargetFacts,
        withoutPredictions: @escaping @Sendable (TargetFacts) -> TargetFacts
    ) {
        self.observe = observe
        self.predict = predict
        self.withoutPast = withoutPast
        self.withoutPredictions = withoutPredictions
    }
}

/// Two revisions against one observation of the live world: what the head of a pull request changes, and what has drifted already.
package struct PullRequestPass: Sendable {
    package let base: Pass
    package let head: Pass
    /// What may be compared where the author has no write permission; nil: the author has.
    package let strangersPart: StrangersPart?
    package let targets: [TargetDifference]
    private let baseDesired: DesiredState
    private let headDesired: DesiredState

    /// - Parameters:
    ///   - base: As it is in force. Its targets say how they are reached, in the head's plan, too.
    ///   - isForStranger: The author of the head has no write permission.
    ///   - comparesValues: False for a stranger from whom live values are hidden.
    package init(base: Pass, head: Pass, isForStranger: Bool, comparesValues: Bool) {
        self.base = base
        self.head = head
        targets = targetDifferences(from: base.desired.targets, to: head.desired.targets)
        if isForStranger {
            let part = StrangersPart(base: base.desired, head: head.desired, comparesValues: comparesValues)
            strangersPart = part
            baseDesired = part.base
            headDesired = part.head
        } else {
            strangersPart = nil
            baseDesired = base.desired
            headDesired = head.desired.reached(as: base.desired)
        }
    }

    /// What has to be asked for both: each target once, as the base reaches it, and each object once.
    package var observedPart: DesiredState {
        var union = baseDesired
        let names = Set(union.targets.map(\.name))
        union.targets += headDesired.targets.filter { !names.contains($0.name) }
        union.targets.sort { $0.name < $1.name }
        let addresses = Set(union.resources.map(\.address))
        union.resources += headDesired.resources.filter { !addresses.contains($0.address) }
        union.resources.sort { ($0.address, $0.key) < ($1.address, $1.key) }
        return base.selection.narrowed(union)
    }

    package struct Outcome: Sendable {
        package var base: Plan
        package var head: Plan
        package var difference: PlanDifference
    }

    /// Asks each target once and plans both revisions from the answers.
    package func compare(
        with world: PullRequestCollaborators,
        progress: (Target, TargetObservation) -> Void = { _, _ in }
    ) async -> Outcome {
        let observed = await observe(observedPart, concurrency: base.concurrency, observer: world.observe, progress: progress)
        return await compare(observed, with: world)
    }

    /// The same from what was observed already, for several pull requests perhaps.
    ///
    /// - Parameter asked: What was asked for; nil: `observedPart`.
    package func compare(_ observed: ObservedState, asked: DesiredState? = nil, with world: PullRequestCollaborators) async -> Outcome {
        if strangersPart != nil {
            let seen = observed.mapFacts(world.withoutPast)
            let basePlan = base.plan(base.selection.narrowed(baseDesired), observed: seen)
            // Both without a server's word: what it would make of the head's manifests it is not asked.
            let local = seen.mapFacts(world.withoutPredictions)
            let before = base.plan(base.selection.narrowed(baseDesired), observed: local)
            let after = head.plan(head.selection.narrowed(headDesired), observed: local)
            var difference = PlanDifference(from: before, to: after)
            difference.replaceDrift(with: basePlan)
            return Outcome(base: basePlan, head: after, difference: difference)
        }
        let basePlan = base.plan(base.selection.narrowed(baseDesired), observed: observed)
        let headPlan = head.plan(head.selection.narrowed(headDesired), observed: await predicted(observed, asked ?? observedPart, with: world))
        return Outcome(base: basePlan, head: headPlan, difference: PlanDifference(from: basePlan, to: headPlan))
    }

    /// The same observation, with what servers would make of the manifests that are others in the head than those that were asked about.
    private func predicted(_ observed: ObservedState, _ asked: DesiredState, with world: PullRequestCollaborators) async -> ObservedState {
        let before = Dictionary(asked.resources.map { ($0.address, $0) }) { first, _ in first }
        let others = headDesired.resources.filter { resource in
            guard let old = before[resource.address] else { return false }
            return old.fields != resource.fields || old.instructions != resource.instructions
        }
        let byTarget = Dictionary(grouping: others, by: \.address.target)
        return await withTaskGroup(of: (String, TargetFacts).self) { group in
            var observed = observed
            for target in headDesired.targets {
                guard !target.isHost, let resources = byTarget[target.name], case .observed(let facts)? = observed.targets[target.name] else {
                    continue
                }
                group.addTask { (target.name, await world.predict(target, resources, facts)) }
            }
            for await (name, facts) in group { observed.targets[name] = .observed(facts) }
            return observed
        }
    }
}

extension ObservedState {
    fileprivate func mapFacts(_ change: (TargetFacts) -> TargetFacts) -> ObservedState {
        ObservedState(
            targets: targets.mapValues { observation in
                guard case .observed(let facts) = observation else { return observation }
                return .observed(change(facts))
            }
        )
    }
}

extension DesiredState {
    /// The same, with the targets that the other has, too, as the other reaches them: where another login leads is not known before it is in
    /// force. What is a host here and a cluster there is left out.
    fileprivate func reached(as other: DesiredState) -> DesiredState {
        let others = Dictionary(other.targets.map { ($0.name, $0) }) { first, _ in first }
        var desired = self
        desired.targets = targets.compactMap { target in
            guard let known = others[target.name] else { return target }
            return known.isHost == target.isHost ? target.reached(as: known) : nil
        }
        let names = Set(desired.targets.map(\.name))
        desired.resources.removeAll { !names.contains($0.address.target) }
        return desired
    }
}

extension Target {
    fileprivate func reached(as other: Target) -> Target {
        switch (self, other) {
        case (.host(var host), .host(let known)):
            (host.address, host.port, host.user, host.become, host.hostKeys) = (known.address, known.port, known.user, known.become, known.hostKeys)
            return .host(host)
        case (.cluster(var cluster), .cluster(let known)):
            (cluster.context, cluster.inventory) = (known.context, known.inventory)
            return .cluster(cluster)
        default: return other
        }
    }

    /// Whether one answer is good for both.
    func isReached(like other: Target) -> Bool {
        switch (self, other) {
        case (.host(let one), .host(let another)):
            (one.address, one.port, one.user, one.become) == (another.address, another.port, another.user, another.become)
                && one.hostKeys == another.hostKeys
        case (.cluster(let one), .cluster(let another)): (one.context, one.inventory) == (another.context, another.inventory)
        default: false
        }
    }
}
