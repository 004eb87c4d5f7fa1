import ArgumentParser
import Controller
@preconcurrency import Dispatch
import Foundation
import Glibc
import Kubernetes
import KubernetesAPI
import Logging
import Reporting
import Stores

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Follow a repository and hold hosts and clusters to it.",
        discussion: """
            What is kept true comes from the repository; what may be done by itself, with which credentials, stands in the configuration, on this machine.
            A push, an event at a target, or the clock leads to a pass over what it is about. Ends in good order on SIGTERM and SIGINT; SIGHUP has the source
            asked at once. 'plumb status' shows how every target stands.
            """
    )

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String

    @Flag(help: "Check the configuration and end; nothing is contacted.")
    var check = false

    func run() async throws {
        let terminal = Terminal(plain: true)
        let configuration = try Self.read(config, terminal: terminal)
        if check {
            terminal.write("\(Escaping.shown(config)): the configuration is good\n")
            return
        }
        let log = Logger(label: "plumb") { _ in LineLogHandler(configuration.log) }
        let options = try configuration.options()
        let metrics = Metrics()
        let world: ControllerComposition
        do throws(StoreFailure) { world = try await ControllerComposition(configuration, options: options, log: log) } catch {
            throw terminal.failed(error, "nothing was contacted")
        }
        let election = Self.election(configuration, world: world)
        let (news, hear) = AsyncStream.makeStream(of: ControllerNews.self, bufferingPolicy: .bufferingNewest(1000))
        let controller = Controller(
            configuration,
            collaborators: world.collaborators { hear.yield($0) },
            metrics: metrics,
            log: log,
            version: PlumbCommand.version,
            memory: world.recall(),
            isLeading: election == nil,
            mayLead: { election?.isLeading ?? true }
        )
        let access = configuration.reports.map { ForgeAccess($0, source: configuration.source) }
        var reporter: PullRequestReporter?
        if let access, access.reports.pullRequests {
            reporter = PullRequestReporter(access, configuration, controller: controller, world: world, metrics: metrics, log: log)
        }
        let listening = Task { [reporter] in for await item in news { await reporter?.note(item) } }
        let service = ControllerService(
            configuration,
            controller: controller,
            world: world,
            election: election,
            reporter: reporter,
            keeper: access.flatMap { DriftIssueKeeper($0, controller: controller, metrics: metrics, log: log) },
            metrics: metrics,
            log: log
        )
        let signals = StopSignals(log: log) {
            await service.stop()
        } onHangup: {
            await controller.announce(commit: nil, byWebhook: false)
        }
        log.info("started", metadata: ["version": "\(PlumbCommand.version)", "source": "\(configuration.source.url)"])
        let failure = await service.run()
        if failure == nil { await signals.stopped() }
        listening.cancel()
        await access?.close()
        await world.close()
        log.info("ended")
        if failure != nil { throw ExitCode(1) }
    }

    /// With more than one replica: who of them acts. nil: there is only this one.
    private static func election(_ configuration: Configuration, world: ControllerComposition) -> LeaderElection? {
        guard let settings = configuration.leaderElection, let connection = world.electionConnection else { return nil }
        let random = String(UInt32.random(in: .min ... .max), radix: 16)
        return LeaderElection(
            at: Lease.Place(namespace: settings.namespace, name: settings.name),
            identity: settings.identity ?? "\(ProcessInfo.processInfo.hostName)_\(random)"
        ) { (request) throws(APIFailure) in try await connection.send(request) }
    }

    /// - Throws: exit status 1, after every mistake was printed.
    static func read(_ path: String, terminal: Terminal) throws -> Configuration {
        guard let data = FileManager.default.contents(atPath: path) else {
            terminal.writeError("\(Escaping.shown(path)): error: the configuration can't be read: \(String(cString: strerror(errno)))\n")
            terminal.writeError("    examples/controller has one that is commented.\n")
            throw ExitCode(1)
        }
        do throws(ConfigurationMistakes) {
            return try Configuration(yaml: Array(data), file: path)
        } catch {
            for mistake in error.diagnostics { terminal.writeError(mistake.text(style: terminal.errors) + "\n") }
            throw ExitCode(1)
        }
    }
}

extension Configuration {
    /// What the commands' options would say.
    func options() throws -> SharedOptions {
        var arguments: [String] = []
        func add(_ name: String, _ value: String?) { if let value { arguments += ["--\(name)", value] } }
        add("kubeconfig", kubernetes.kubeconfig)
        add("context", kubernetes.context)
        add("identity", ssh.identity)
        add("known-hosts", ssh.knownHosts)
        add("ssh-config", ssh.configuration)
        add("data-dir", dataDirectory)
        add("concurrency", "\(limits.concurrency)")
        add("timeout", "\(limits.timeout.components.seconds)s")
        add("max-deletes", "\(limits.maxDeletes)")
        return try SharedOptions.parse(arguments)
    }
}

/// SIGTERM and SIGINT end the controller in good order, a second one at once; SIGHUP has the source asked.
private final class StopSignals: Sendable {
    private let sources: [any DispatchSourceSignal]
    private let stopping: AsyncStream<Void>

    init(log: Logger, onStop: @escaping @Sendable () async -> Void, onHangup: @escaping @Sendable () async -> Void) {
        let queue = DispatchQueue(label: "plumb.signals")
        let (stopping, continuation) = AsyncStream.makeStream(of: Void.self)
        self.stopping = stopping
        let count = Counter()
        var sources: [any DispatchSourceSignal] = []
        for number in [SIGINT, SIGTERM, SIGHUP] {
            Foundation.signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler {
                if number == SIGHUP {
                    Task { await onHangup() }
                    return
                }
                guard count.increment() == 1 else {
                    log.warning("stopped at once")
                    _exit(130)
                }
                log.info("ending")
                Task {
                    await onStop()
                    continuation.finish()
                }
            }
            source.resume()
            sources.append(source)
        }
        self.sources = sources
    }

    /// Waits until what was under way has ended.
    func stopped() async { for await _ in stopping {} }
}

/// Confined to one queue.
private final class Counter: @unchecked Sendable {
    private var count = 0

    func increment() -> Int {
        count += 1
        return count
    }
}
