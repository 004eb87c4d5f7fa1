import ClusterKinds
import Controller
import DriftDetection
import Foundation
import Kubernetes
import KubernetesAPI
import ResourceModel
import Synchronization
import Values

/// What the controller knows of a cluster without asking: its objects as the watches tell them, and who holds its lock.
final class ClusterFollowing: Sendable {
    private struct State {
        /// What the last look at everything has taught; nil: there was none.
        var memory: ClusterMemory?
        var live: [ResourceAddress: SeenObject] = [:]
        /// What the server answered to our own changes, until it is looked at.
        var answers: [ResourceAddress: TargetFacts] = [:]
        /// What the change under way is about.
        var changing: [ResourceAddress: DesiredResource] = [:]
        /// nil: the lock is not watched, so whether it is free has to be asked.
        var lock: LockState?
    }

    private struct LockState {
        var lease: Lease?
        var changed: ContinuousClock.Instant
    }

    let cluster: Cluster
    private let state = Mutex(State())

    init(_ cluster: Cluster) { self.cluster = cluster }

    // MARK: Looking

    /// Everything was looked at.
    func learn(_ observation: TargetObservation, of resources: [DesiredResource]) {
        guard case .observed(let facts) = observation else { return }
        state.withLock { state in
            guard let identity = state.memory?.identity, identity == facts.identity else {
                state.memory = ClusterMemory(facts, of: resources)
                return
            }
            state.memory?.learn(facts, of: resources)
        }
    }

    /// Other specs: what was learnt of the old ones says nothing of them.
    func forget() { state.withLock { $0 = State(lock: $0.lock) } }

    /// Judges these resources by what the watches have told, without asking the server.
    func look(_ resources: [DesiredResource]) -> PartObservation {
        state.withLock { state in
            guard let memory = state.memory else { return .needsWhole("nothing is known of the cluster yet") }
            let judgement = memory.judge(resources, live: state.live)
            if let (address, why) = judgement.needsFullPass.min(by: { $0.key < $1.key }) { return .needsWhole("\(address): \(why)") }
            return .judged(.observed(judgement.facts), Set(judgement.resources.map(\.address)))
        }
    }

    // MARK: Following

    /// Watches all that is declared until it is cancelled.
    func follow(_ connection: ClusterConnection, _ resources: [DesiredResource], _ tell: @escaping @Sendable (TargetEvent) -> Void) async {
        let watches = state.withLock { $0.memory?.watches(for: resources) } ?? [:]
        let open = Waiting(Set(watches.keys))
        await withTaskGroup(of: Void.self) { group in
            for (watch, objects) in watches {
                group.addTask {
                    await connection.follow(watch) { event in
                        if case .restarted(let why) = event { return tell(.restarted("\(watch.words): \(why)")) }
                        let touched = self.note(objects.seen(in: event))
                        if !touched.isEmpty { tell(.touched(touched)) }
                        // With the last first list all of it is followed.
                        if case .listed = event, open.isLast(watch) { tell(.connected) }
                    }
                }
            }
            group.addTask { await self.followLock(connection, tell) }
            if watches.isEmpty { tell(.connected) }
            await group.waitForAll()
        }
        state.withLock { $0.lock = nil }
    }

    /// The watches whose first list has not come yet.
    private final class Waiting: Sendable {
        private let watches: Mutex<Set<ObjectWatch>>

        init(_ watches: Set<ObjectWatch>) { self.watches = Mutex(watches) }

        func isLast(_ watch: ObjectWatch) -> Bool { watches.withLock { $0.remove(watch) != nil && $0.isEmpty } }
    }

    /// - Returns: what is other than it was when it was told last.
    private func note(_ seen: [ResourceAddress: SeenObject]) -> [ResourceAddress] {
        state.withLock { state in
            seen.compactMap { address, live in
                if state.live[address] == live { return nil }
                state.live[address] = live
                return address
            }
        }
    }

    private func followLock(_ connection: ClusterConnection, _ tell: @escaping @Sendable (TargetEvent) -> Void) async {
        let api = APIResource(
            groupVersion: GroupVersion("coordination.k8s.io/v1"),
            kind: "Lease",
            plural: "leases",
            isNamespaced: true
        )
        let place = Lease.Place.apply
        let watch = ObjectWatch(api, namespace: place.namespace, name: place.name)
        await connection.follow(watch) { event in
            let lease: Lease?
            switch event {
            case .listed(let leases): lease = leases.first.map { Lease($0) }
            case .changed(let object): lease = Lease(object)
            case .deleted: lease = nil
            case .restarted:
                // It goes on where it was, or with a list; until then nothing is known.
                self.state.withLock { $0.lock = nil }
                return
            }
            self.state.withLock { $0.lock = LockState(lease: lease, changed: .now) }
        }
    }

    /// Who else holds the lock of the cluster; nil: nobody does. Unknown where it can't be watched.
    func otherHolder(than own: String) -> LockAnswer {
        state.withLock { state in
            guard let lock = state.lock else { return .unknown }
            guard let lease = lock.lease, !lease.holder.isEmpty, !lease.holder.hasPrefix(own) else { return .free }
            // By our own clock, since when it has not been renewed.
            return ContinuousClock.now - lock.changed > .seconds(lease.duration) ? .free : .held(lease)
        }
    }

    enum LockAnswer {
        case free
        case held(Lease)
        case unknown
    }

    // MARK: Changing

    /// These may be changed.
    func begin(_ resources: [DesiredResource]) {
        state.withLock { state in
            state.answers = [:]
            state.changing = Dictionary(resources.map { ($0.address, $0) }) { first, _ in first }
        }
    }

    /// The answer to a change is what is there now.
    func take(_ answer: APIResponse, to request: Step.Request, of address: ResourceAddress) {
        state.withLock { state in
            guard let resource = state.changing[address] else { return }
            state.answers[address] = state.memory?.learn(from: answer, to: request, of: resource)
        }
    }

    /// What the server answered to changes of all these; nil: it has to be asked.
    func answers(for resources: [DesiredResource]) -> TargetObservation? {
        state.withLock { state in
            var merged: TargetFacts?
            for resource in resources {
                guard let facts = state.answers.removeValue(forKey: resource.address), case .cluster(let objects) = facts.facts else { return nil }
                guard var all = merged, case .cluster(let before) = all.facts else {
                    merged = facts
                    continue
                }
                all.facts = .cluster(before.merging(objects) { $1 })
                all.owned += facts.owned
                merged = all
            }
            return merged.map(TargetObservation.observed)
        }
    }
}
