import Controller
import Foundation
import Kubernetes
import Logging
import ResourceModel
import Synchronization

/// What replicas share in the cluster: what is paused, and what outlives the leader. A ConfigMap, read about once a second.
///
/// - Guarantees: a pause counts from when it is known here, and while the cluster can't be asked the last that is known counts. A pause that was given at
///   one replica is taken back at any.
final class ReplicaMemory: Sendable {
    private struct State {
        /// As the cluster has it; nil: never read yet.
        var shared: [Pause]?
        /// Pauses of this replica that the cluster was told of: from then on the cluster decides.
        var published: Set<Pause> = []
        var memory: String?
    }

    private static let pausesKey = "pauses.json"
    private static let memoryKey = "memory.json"

    private let cluster: ClusterState
    private let log: Logger
    private let state = Mutex(State())

    init(_ cluster: ClusterState, log: Logger) {
        self.cluster = cluster
        self.log = log
    }

    /// What is paused, by what this replica was told and what the cluster has.
    func effective(_ local: [Pause]) -> [Pause] {
        state.withLock { state in
            let shared = state.shared ?? []
            return shared + local.filter { !shared.contains($0) && (!state.published.contains($0) || state.shared == nil) }
        }
    }

    /// Tells the cluster what was paused and resumed here, and reads what was elsewhere.
    ///
    /// - Returns: why it could not; nil: it is known.
    func exchange(_ local: [Pause], resumed: [Pause.Scope], at now: Moment) async -> String? {
        let new = state.withLock { state in local.filter { !state.published.contains($0) } }
        do throws(ClusterState.Failure) {
            if !new.isEmpty || !resumed.isEmpty {
                try await cluster.update(Self.pausesKey) { text in
                    var pauses = Self.pauses(text)
                    pauses.removeAll { pause in resumed.contains(pause.scope) || resumed.contains(.all) || !pause.isActive(at: now) }
                    pauses += new.filter { !pauses.contains($0) }
                    return pauses.isEmpty ? nil : Self.text(pauses)
                }
            }
            let texts = try await cluster.read()
            state.withLock { state in
                state.published.formUnion(new)
                state.published.formIntersection(local)
                state.shared = Self.pauses(texts[Self.pausesKey]).filter { $0.isActive(at: now) }
                state.memory = texts[Self.memoryKey]
            }
            return nil
        } catch {
            return error.message
        }
    }

    /// What the leader before has left; nil: nothing, or it can't be read.
    func recall() async -> ControllerMemory? {
        do throws(ClusterState.Failure) {
            guard let text = try await cluster.read()[Self.memoryKey] else { return nil }
            return try? JSONDecoder().decode(ControllerMemory.self, from: Data(text.utf8))
        } catch {
            log.warning("what the leader before has left can't be read: \(error.message)")
            return nil
        }
    }

    func remember(_ memory: ControllerMemory) async {
        let text = Self.text(memory)
        do throws(ClusterState.Failure) { try await cluster.update(Self.memoryKey) { _ in text } } catch {
            log.warning("what should outlive the leader can't be written: \(error.message)")
        }
    }

    private static func pauses(_ text: String?) -> [Pause] {
        guard let text else { return [] }
        return (try? JSONDecoder().decode([Pause].self, from: Data(text.utf8))) ?? []
    }

    private static func text(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? "[]"
    }
}
