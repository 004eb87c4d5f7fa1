import Controller
import Forge
import Foundation
import Glibc
import Kubernetes
import KubernetesAPI
import Logging
import ResourceModel
import Stores
import Values

/// Everything that runs beside the controller: its servers, the brake, the election, and what systemd is told.
struct ControllerService: Sendable {
    private let configuration: Configuration
    private let controller: Controller
    private let world: ControllerComposition
    private let election: LeaderElection?
    /// nil: nothing is reported at a forge by itself.
    private let reporter: PullRequestReporter?
    private let keeper: DriftIssueKeeper?
    private let metrics: Metrics
    private let log: Logger
    private let service = ServiceManager()
    private let stopping: AsyncStream<Void>.Continuation
    private let stops: AsyncStream<Void>

    init(
        _ configuration: Configuration,
        controller: Controller,
        world: ControllerComposition,
        election: LeaderElection?,
        reporter: PullRequestReporter? = nil,
        keeper: DriftIssueKeeper? = nil,
        metrics: Metrics,
        log: Logger
    ) {
        self.configuration = configuration
        self.controller = controller
        self.world = world
        self.election = election
        self.reporter = reporter
        self.keeper = keeper
        self.metrics = metrics
        self.log = log
        (stops, stopping) = AsyncStream.makeStream(of: Void.self)
    }

    private var socketPath: String { configuration.socket.path ?? "\(world.dataPath)/\(ControlSocket.fileName)" }

    /// Runs until `stop()` has ended what was under way.
    ///
    /// - Returns: why it could not go on; nil: it was asked to end. The reason has been said.
    func run() async -> (any Error)? {
        await withTaskGroup(of: (any Error)?.self) { group in
            func serve(_ what: String, _ body: @escaping @Sendable () async throws -> Void) {
                group.addTask {
                    do {
                        try await body()
                        // A server that has ended without the end being asked for is none.
                        return Task.isCancelled ? nil : CancellationError()
                    } catch {
                        if Task.isCancelled { return nil }
                        log.error("\(what) can't be served: \(error)")
                        return error
                    }
                }
            }
            // A push that nobody could announce yet is seen by who reads the source afterwards.
            let (listening, isListening) = AsyncStream.makeStream(of: Void.self)
            serve("the control socket at \(socketPath)") { try await socket.run { isListening.yield() } }
            if let address = configuration.operations.listen {
                serve("operations at \(address)") { try await operations(address).run() }
            }
            if let webhooks = configuration.webhooks {
                serve("webhooks at \(webhooks.listen)") { try await webhookServer(webhooks).run { _ in isListening.yield() } }
            }
            serve("the brake") { await obeyBrake() }
            serve("the source") {
                var missing = configuration.webhooks == nil ? 1 : 2
                for await _ in listening {
                    missing -= 1
                    if missing == 0 { break }
                }
                if Task.isCancelled { return }
                await controller.run()
                // What is under way is still being finished, and the rest goes on until it is.
                for await _ in AsyncStream<Void>.makeStream().stream {}
            }
            if let reporter { serve("reports") { await reporter.run() } }
            serve("the watchdog") { await reportAlive() }
            serve("the journal") { await forgetHistory() }
            if let keeper { serve("the issue about drift") { await keeper.run() } }
            if let election { serve("the election") { await elect(election) } }
            group.addTask {
                for await _ in stops {}
                return nil
            }
            let failure = await group.next() ?? nil
            if failure != nil { await controller.stop() }
            group.cancelAll()
            while let _ = await group.next() {}
            return failure
        }
    }

    /// Ends in good order: what is under way is finished, then everything else ends.
    func stop() async {
        service.isStopping()
        await controller.stop()
        stopping.finish()
    }

    // MARK: Servers

    private var socket: ControlSocket {
        let (controller, reporter, keeper) = (controller, reporter, keeper)
        return ControlSocket(
            path: socketPath,
            group: configuration.socket.group,
            repository: FollowedRepository(url: configuration.source.url, name: configuration.webhooks?.repository),
            logger: log,
            onPush: { notices, wait, _ in await carryOut(notices, wait: wait) },
            onCommand: { request, _ in
                switch request.command {
                case "status":
                    var status = await controller.status()
                    status.reports = await reporter?.status()
                    status.driftIssue = await keeper?.status()
                    return status.value
                default: return nil
                }
            }
        )
    }

    /// Has the source asked for what was pushed, and waits for what comes of it.
    private func carryOut(_ notices: [PushNotice], wait: Duration) async -> [String] {
        var last: String?
        for notice in notices {
            // Another branch's push changes nothing here.
            guard await controller.follows(notice.ref) else { continue }
            await controller.announce(commit: notice.commit, byWebhook: true)
            last = notice.commit ?? last
        }
        guard let last else { return [] }
        if wait == .zero { return ["\(last.prefix(12)) is on its way"] }
        return await controller.outcome(of: last, within: wait)
    }

    private func webhookServer(_ webhooks: Configuration.Webhooks) throws -> WebhookServer {
        let (controller, reporter) = (controller, reporter)
        var webhooks = webhooks
        // A repository on this machine has no name that a forge would know.
        if configuration.source.url.hasPrefix("file:"), webhooks.repository == nil { webhooks.repository = configuration.reports?.repository }
        return try WebhookServer(webhooks, following: configuration.source, metrics: metrics, logger: log) { notice in
            Task {
                guard await controller.follows(notice.ref) else { return }
                await controller.announce(commit: notice.commit, byWebhook: true)
            }
        } onPullRequest: { notice in
            guard let reporter else { return }
            Task {
                var notice = notice
                // What is meant for another branch now is none of ours any more.
                if let base = notice.baseRef, await !controller.follows("refs/heads/\(base)") { notice.action = .closed }
                await reporter.note(notice)
            }
        }
    }

    private func operations(_ address: Configuration.Address) -> OperationsServer {
        let controller = controller
        return OperationsServer(
            address: address,
            metrics: metrics,
            // The answer itself shows that the queue's actor moves.
            trouble: {
                _ = await controller.isReady
                return nil
            },
            unreadiness: { await controller.isReady ? nil : "no revision is in force yet" }
        )
    }

    // MARK: Brake

    /// Notices what `plumb pause` and `plumb resume` do, and what ends by the time.
    private func obeyBrake() async {
        let store = world.brake.store
        var version: Int?
        var latest: Int64 = 0
        var active: Set<Pause> = []
        var unshared: String?
        var said: String?
        var exchanged = ContinuousClock.now - .seconds(60)
        while !Task.isCancelled {
            do throws(StoreFailure) {
                let now = try store.version()
                let local = try store.active(at: Date())
                var resumed: [Pause.Scope] = []
                if now != version {
                    let all = try store.resumptions(after: latest)
                    latest = max(latest, all.latest)
                    // What was resumed before the start is no news.
                    if version != nil { resumed = all.scopes.map(Pause.Scope.init) }
                }
                if let replicas = world.replicas, now != version || ContinuousClock.now - exchanged > .seconds(1) {
                    exchanged = .now
                    let failure = await replicas.exchange(local.map(Pause.init), resumed: resumed, at: Moment(Date()))
                    if let failure, failure != unshared { log.warning("what is paused is not shared with other replicas: \(failure)") }
                    unshared = failure
                }
                let paused = Set(try world.brake.pauses())
                if now != version || paused != active {
                    (version, active) = (now, paused)
                    await controller.pausesChanged(resumed: resumed)
                }
                said = nil
            } catch {
                if said != error.message { log.error("what is paused can't be known, so nothing is changed: \(error.message)") }
                said = error.message
            }
            try? await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: Journal

    /// Once a day.
    private func forgetHistory() async {
        while !Task.isCancelled {
            do throws(StoreFailure) {
                let count = try await world.journal.forget(before: Date() - configuration.limits.history / .seconds(1))
                if count > 0 { log.info("forgot \(count) runs of before 'limits.history'") }
            } catch {
                log.warning("old runs stay in the journal: \(error.message)")
            }
            try? await Task.sleep(for: .seconds(86_400))
        }
    }

    // MARK: Election

    private func elect(_ election: LeaderElection) async {
        let (controller, log) = (controller, log)
        await election.run { leadership in
            switch leadership {
            case .leading:
                if let memory = await world.replicas?.recall() { await controller.takeOver(memory) }
                await controller.setLeading(true)
            case .following(let leader):
                log.info("another replica leads: \(leader)")
                await controller.setLeading(false)
            case .lost(let why):
                log.warning("nothing is changed: \(why)")
                await controller.setLeading(false)
            }
        }
    }

    // MARK: systemd

    private func reportAlive() async {
        var isReady = false
        while !Task.isCancelled {
            // Through the controller, so that a stuck one is noticed.
            let status = await controller.status()
            if !isReady, status.source.revision != nil {
                service.isReady("\(status.targets.count) targets")
                isReady = true
            }
            let open = status.targets.count { $0.standing != .inSync }
            if isReady { service.tell("at \(status.source.revision?.prefix(12) ?? ""): \(status.targets.count) targets, \(open) not in sync") }
            service.isAlive()
            // Who is ordered after it waits until it is ready.
            let pause = isReady ? Duration.seconds(10) : .milliseconds(200)
            try? await Task.sleep(for: service.watchdogInterval.map { min($0 / 2, pause) } ?? pause)
        }
    }
}
