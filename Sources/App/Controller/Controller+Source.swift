import Foundation
import Logging
import Reconciling
import ResourceModel

extension Controller {
    /// Asks the source when a push was announced or it is time, for ever.
    func followSource() async {
        var failures = 0
        var delay = Duration.zero
        while true {
            if delay > .zero, await !awaitSourceTurn(delay) { return }
            let asked = announced
            announced = []
            let outcome = await ask(expecting: asked)
            if isEnding || Task.isCancelled { return }
            if outcome.isFailure {
                failures += 1
                // Sooner than a poll: the remote may be back any moment. Later each time: it may be gone for hours.
                let chance = Double.random(in: 0...1)
                delay = min(configuration.source.poll, retryDelays.delay(failures: failures, chance: chance) * 1.5)
            } else {
                failures = 0
                delay = webhooksArrive ? configuration.source.pollWithWebhooks : configuration.source.poll
            }
        }
    }

    /// Asks once; again and again for a moment where a commit was announced that is not there yet.
    private func ask(expecting asked: [String?]) async -> Fetched {
        let expected = asked.last ?? nil
        let end = ContinuousClock.now + .seconds(30)
        var pause = Duration.milliseconds(50)
        while true {
            let began = ContinuousClock.now
            let outcome = await collaborators.fetch(revision, expected)
            lastAsked = Date()
            take(outcome, took: .now - began)
            guard case .unchanged = outcome, let expected, revision?.commit != expected, refusedRevision != expected, !isEnding,
                ContinuousClock.now < end, announced.isEmpty
            else { return outcome }
            // A push that was overtaken by another one never comes; that other one is announced, too.
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(2))
        }
    }

    private func take(_ outcome: Fetched, took: Duration) {
        func count(_ word: String) { metrics.increment(.fetches, ["outcome": word]) }
        switch outcome {
        case .unchanged:
            count("unchanged")
            // The newest revision is the one in force: what was refused has been taken back.
            sourceMistakes = []
            refusedRevision = nil
            metrics.set(.sourceMistakes, to: 0)
        case .loaded(let new):
            count("loaded")
            sourceMistakes = []
            refusedRevision = nil
            metrics.set(.sourceMistakes, to: 0)
            putInForce(new, took: took)
        case .refused(let commit, let mistakes):
            count("refused")
            metrics.set(.sourceMistakes, to: Double(mistakes.count))
            if commit != refusedRevision || mistakes != sourceMistakes {
                for mistake in mistakes { log.error("\(mistake)", metadata: ["revision": "\(commit ?? "")"]) }
                let inForce = revision.map { "\($0.label) stays in force" } ?? "nothing is in force yet"
                log.error("the newest revision is not followed; \(inForce)", metadata: ["revision": "\(commit ?? "")"])
            }
            sourceMistakes = mistakes
            refusedRevision = commit
            answerWaiters()
        case .loadedInstead(let good, let why):
            if revision == nil { putInForce(good, took: took) }
            take(why, took: took)
        case .failed(let message):
            count("failed")
            if sourceMistakes != [message] { log.warning("the source can't be asked: \(message)") }
            if refusedRevision == nil { sourceMistakes = [message] }
        }
    }

    private func putInForce(_ new: Revision, took: Duration) {
        let before = revision
        revision = new
        revisionSince = Date()
        failuresAtRevision = 0
        metrics.remove(.sourceRevision, where: "job", is: "source")
        metrics.set(.sourceRevision, ["job": "source", "revision": new.commit ?? new.label], to: 1)
        let milliseconds = Int(took / .milliseconds(1))
        log.info(
            "in force",
            metadata: ["revision": "\(new.label)", "before": "\(before?.label ?? "none")", "read": "\(milliseconds) ms"]
        )
        for note in new.notes { log.warning("\(note)") }

        let resources = Dictionary(grouping: new.desired.resources, by: \.address.target)
        let observed = Set(new.desired.resourcesByTarget().map(\.0.name))
        for name in targets.keys where !observed.contains(name) { forget(name) }
        queue.keep(only: observed)
        settling.keep(only: observed)
        fights.keep(only: observed)
        for target in new.desired.targets where observed.contains(target.name) {
            var state = targets[target.name] ?? TargetState(target: target)
            let declared = resources[target.name] ?? []
            // Where it is reached or what is declared has changed: what is followed may be something else.
            let isOther = state.target != target || Set(state.resources.map(\.address)) != Set(declared.map(\.address))
            if isOther {
                state.following?.cancel()
                state.following = nil
                state.isFollowed = false
            }
            let changed = before?.label == state.observedAt && state.isFollowed && state.failures == 0 ? state.kindsToLookAtFirst(declared) : []
            collaborators.forget(target)
            state.target = target
            state.resources = declared
            state.unsettled = []
            state.wasInSync = []
            state.observedAt = nil
            (state.changed, state.failed) = (0, 0)
            targets[target.name] = state
            if leads {
                // What was pushed is live sooner where only that is read first. All the rest is looked at right after it, and only then is it in sync.
                if !changed.isEmpty { request(target.name, .parts(changed), because: "revision \(new.label)") }
                request(target.name, .whole, because: before == nil ? "start" : "revision \(new.label)")
                if case .host = target { startFollowing(target.name) }
            }
        }
        driftChanges?.yield()
        remember()
        collaborators.hear(.revision)
        answerWaiters()
        noteSettled()
    }

    /// Says once of each revision that all was looked at.
    func noteSettled() {
        guard let revision, settled != revision.label else { return }
        // One that gives no answer is not waited for: it may be away for days.
        guard targets.values.allSatisfy({ $0.observedAt == revision.label || $0.failures > 0 }) else { return }
        settled = revision.label
        collaborators.hear(.settled)
    }

    private func forget(_ name: String) {
        targets[name]?.following?.cancel()
        targets[name] = nil
        metrics.remove(.drift, where: "target", is: name)
        metrics.remove(.problems, where: "target", is: name)
    }

    // MARK: Events

    func startFollowing(_ name: String) {
        guard leads, let state = targets[name], state.following == nil else { return }
        let target = state.target
        let resources = state.resources
        let follow = collaborators.follow
        targets[name]?.following = Task {
            // In order: one event after the other goes through the stream.
            let (events, continuation) = AsyncStream.makeStream(of: TargetEvent.self, bufferingPolicy: .bufferingNewest(1024))
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    await follow(target, resources) { continuation.yield($0) }
                    continuation.finish()
                }
                for await event in events { self.note(event, of: name) }
                group.cancelAll()
            }
        }
    }

    private func note(_ event: TargetEvent, of name: String) {
        guard targets[name] != nil, !Task.isCancelled else { return }
        switch event {
        case .connected:
            targets[name]?.isFollowed = true
            log.debug("followed", metadata: ["target": "\(name)"])
            request(name, .whole, because: "connected")
        case .touched(let addresses):
            // It is looked at as a whole before long, and is not to be asked more often for what goes on there.
            if (targets[name]?.failures ?? 0) > 0 { return }
            request(name, .parts(Set(addresses)), because: "event")
        case .lost(let why):
            if targets[name]?.isFollowed == true { log.warning("no longer followed: \(why)", metadata: ["target": "\(name)"]) }
            targets[name]?.isFollowed = false
            metrics.increment(.watchRestarts, ["target": name])
            // Whether it is there at all is to be known, and those that are there are not to wait for that.
            queue.suspect(name)
            request(name, .whole, because: "no longer followed", after: .seconds(1))
        case .restarted(let why):
            log.debug("watch began anew: \(why)", metadata: ["target": "\(name)"])
            metrics.increment(.watchRestarts, ["target": name])
            request(name, .whole, because: "watch began anew", after: .seconds(2))
        }
        metrics.set(.followed, to: Double(targets.values.count { $0.isFollowed }))
    }

    /// Whether a push of this reference can change what is followed.
    package func follows(_ ref: String?) -> Bool {
        guard let ref else { return true }
        if let name = configuration.source.revision { return [name, "refs/heads/\(name)", "refs/tags/\(name)"].contains(ref) }
        guard let followed = revision?.ref, followed.hasPrefix("refs/") else { return true }
        return ref == followed
    }

    // MARK: Who waits

    /// What came of a commit, where that is known already.
    func outcomeNow(of commit: String) -> [String]? {
        if refusedRevision == commit {
            return ["\(commit.prefix(12)) is refused, and nothing of it is applied:"] + sourceMistakes.prefix(20)
        }
        guard let revision, revision.commit == commit else { return nil }
        let states = targets.values.sorted { $0.target.name < $1.target.name }
        // One that gives no answer is not waited for: it may be away for days.
        guard states.allSatisfy({ $0.observedAt == revision.label || $0.failures > 0 }) else { return nil }
        let changed = states.reduce(0) { $0 + $1.changed }
        let failed = states.reduce(0) { $0 + $1.failed }
        var lines = ["\(commit.prefix(12)) applied: \(changed) changed\(failed > 0 ? ", \(failed) failed" : "") at \(states.count) targets"]
        for state in states {
            for item in state.open.values.sorted(by: { ($0.address ?? "", $0.message) < ($1.address ?? "", $1.message) }).prefix(5) {
                lines.append("  \(item.address ?? state.target.name): \(item.status): \(item.message)")
            }
        }
        return lines
    }

    func unfinished(_ commit: String, _ limit: Duration) -> [String] {
        guard let revision, revision.commit == commit else {
            return ["\(commit.prefix(12)) was not in force after \(limit.components.seconds) s\(sourceMistakes.first.map { ": \($0)" } ?? "")"]
        }
        let open = targets.values.filter { $0.observedAt != revision.label }.map(\.target.name).sorted()
        return ["\(commit.prefix(12)) is in force; after \(limit.components.seconds) s still under way at \(open.joined(separator: ", "))"]
    }

    func answerWaiters() {
        waiters.removeAll { waiter in
            guard let lines = outcomeNow(of: waiter.commit) else { return false }
            waiter.continuation.resume(returning: lines)
            return true
        }
    }
}

extension TargetState {
    /// Of a host that is known to be as the specs were, the kinds of which the new ones say something else, as addresses. None where it is
    /// all of them anyway, or where something at another target has to be so before.
    fileprivate func kindsToLookAtFirst(_ declared: [DesiredResource]) -> Set<ResourceAddress> {
        guard case .host = target else { return [] }
        let before = Dictionary(resources.map { ($0.address, $0) }) { first, _ in first }
        let handlers = Set(
            declared.filter { new in
                guard let old = before[new.address] else { return true }
                var same = old
                // Where it stands in the files says nothing.
                same.origins = new.origins
                return same != new
            }.map(\.handler)
        )
        let addresses = handlers.map { ResourceAddress(target: target.name, resource: "\($0)/*") }
        let isAll = handlers == Set(declared.map(\.handler))
        let waits = declared.contains { handlers.contains($0.handler) && $0.dependsOn.contains { $0.target != target.name } }
        let areGlobs = declared.allSatisfy { !handlers.contains($0.handler) || $0.address.resource.hasPrefix("\($0.handler)/") }
        return isAll || waits || !areGlobs ? [] : Set(addresses)
    }
}
