import Applying
import ClusterKinds
import Planning
import ResourceModel

/// How objects of a cluster are given up.
struct ObjectRelease: Sendable {
    /// What ends Plumb's hold on an object and leaves its values; empty: there is none.
    var steps: @Sendable (OwnedResource, TargetFacts) -> [Step]
    /// Takes objects out of the cluster's inventory; nil: done.
    var forget: @Sendable (Cluster, [OwnedResource]) async -> Problem?
}

extension ReleaseCommand {
    /// One action for each object that is meant.
    func actions(for objects: [OwnedResource], facts: TargetFacts, release: ObjectRelease) -> [Action] {
        objects.sorted { $0.address < $1.address }.map { object in
            Action(
                address: object.address,
                kind: object.kind,
                handler: object.handler,
                operation: .update,
                fields: [],
                steps: release.steps(object, facts),
                reason: "no longer Plumb's; its values stay",
                fingerprint: ""
            )
        }
    }

    /// Gives up the objects of one cluster, one after another.
    ///
    /// - Returns: how each ended; those that succeeded are out of the inventory as well.
    func carryOut(
        _ actions: [Action],
        of objects: [OwnedResource],
        in cluster: Cluster,
        collaborators: ApplyCollaborators,
        release: ObjectRelease
    ) async -> [(Action, ActionOutcome)] {
        let target = Target.cluster(cluster)
        var outcomes: [(Action, ActionOutcome)] = []
        func end(_ action: Action, _ outcome: ActionOutcome) async {
            await collaborators.didEnd(action, outcome)
            outcomes.append((action, outcome))
        }
        if let problem = await collaborators.prepare(target, actions) {
            for action in actions { await end(action, .skipped("not started: \(problem.message)")) }
            await collaborators.conclude(target, outcomes)
            return outcomes
        }
        for action in actions {
            if let problem = await collaborators.willStart(action) {
                await end(action, .skipped("not started: \(problem.message)"))
            } else if let problem = await collaborators.execute(target, action) {
                await end(action, .failed(problem.message))
            } else if let object = objects.first(where: { $0.address == action.address }), let problem = await release.forget(cluster, [object]) {
                await end(action, .failed("given up, but the inventory still has it: \(problem.message)"))
            } else {
                await end(action, .succeeded(""))
            }
        }
        await collaborators.conclude(target, outcomes)
        return outcomes
    }
}

extension Composition {
    var objectRelease: ObjectRelease {
        ObjectRelease(
            steps: { ClusterKinds.release($0, in: $1) },
            forget: { cluster, objects in
                guard let why = await self.forget(objects, at: cluster) else { return nil }
                return Problem(target: cluster.name, status: .unknown, message: why)
            }
        )
    }
}

extension ApplySummary {
    /// Counts how an action ended that did not go through `apply`.
    mutating func count(_ action: Action, _ outcome: ActionOutcome) -> ApplyEvent {
        planned += 1
        switch outcome {
        case .succeeded(let message):
            succeeded += 1
            return .succeeded(action.address, message)
        case .failed(let message):
            failed += 1
            return .failed(action.address, message)
        case .skipped(let message):
            skipped += 1
            return .skipped(action.address, message)
        case .rolledBack(let message):
            rolledBack += 1
            return .rolledBack(action.address, message)
        }
    }
}
