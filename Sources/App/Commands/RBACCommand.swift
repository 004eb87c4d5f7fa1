import ArgumentParser
import ClusterKinds
import Kubernetes
import KubernetesAPI
import Reporting
import ResourceModel
import SpecSources
import Values

struct RBACCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rbac",
        abstract: "Print the rights that the specs need in a cluster, as manifests.",
        discussion: """
            A ServiceAccount, Roles, a ClusterRole and their bindings with exactly what plan, apply and run use: verbs, kinds and names. Give them to
            the cluster as an administrator:
              plumb rbac state | kubectl apply -f -
            When the specs change, print them anew, after what is no longer declared was pruned: the new ones don't allow it any more.
            Nothing is contacted unless --kubeconfig is given; then the server is asked for the kinds it has, and for nothing else.
            Exit status: 0; 1 where the specs are wrong, or a kind is not known.
            """
    )

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

    @Option(help: ArgumentHelp("Which Cluster of the specs, where there are several.", valueName: "name"))
    var cluster: String?

    @Option(help: ArgumentHelp("Where the ServiceAccount is, and the Lease of 'plumb run'.", valueName: "name"))
    var namespace = "plumb"

    @Option(name: .customLong("service-account"), help: ArgumentHelp("The ServiceAccount that gets the rights.", valueName: "name"))
    var serviceAccount = "plumb"

    @Flag(name: .customLong("report-only"), help: "Only the rights to look.")
    var reportOnly = false

    @Flag(name: .customLong("leader-election"), inversion: .prefixedNo, help: "With what 'plumb run' needs for more than one replica.")
    var electsLeader = true

    @Option(
        name: .customLong("plural"),
        help: ArgumentHelp(
            "How rights call a kind that is neither Kubernetes' own nor defined in the specs; ':cluster' where it has no namespace. May be repeated.",
            valueName: "kind.group=plural[:cluster]"
        )
    )
    var plurals: [String] = []

    @OptionGroup var git: GitSourceOptions

    @Option(help: ArgumentHelp("Ask this kubeconfig's server for the kinds it has.", valueName: "file"))
    var kubeconfig: String?

    @Option(help: ArgumentHelp("The kubeconfig context, for a Cluster whose spec names none.", valueName: "name"))
    var context: String?

    @Option(help: ArgumentHelp("How long the server may take to answer: 5s, 2m.", valueName: "duration"))
    var timeout = DurationArgument(.seconds(30))

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws {
        for (option, name) in [("--namespace", namespace), ("--service-account", serviceAccount)] where !Self.isLabel(name) {
            throw ValidationError("\(option) takes a name of small letters, digits and '-', not '\(name)'.")
        }
        for plural in plurals where Self.kind(plural) == nil {
            throw ValidationError("--plural takes KIND.GROUP=PLURAL, such as Widget.example.org=widgets, not '\(plural)'.")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        func refuse(_ message: String, _ fix: String) -> any Error {
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(message))\n    \(Escaping.shown(fix))\n")
            return ExitCode(1)
        }
        let sources = SourceOptions(git, identity: nil, knownHosts: nil, sshConfig: nil, dataDirectory: nil)
        let loaded = try await Source.load(source, options: sources, contextIsGiven: true, terminal: terminal)
        let desired = loaded.desired
        let clusters = desired.targets.compactMap { if case .cluster(let cluster) = $0 { cluster } else { nil } }
        let names = clusters.map(\.name).joined(separator: ", ")
        guard let chosen = clusters.first(where: { cluster == nil ? clusters.count == 1 : $0.name == cluster }) else {
            if clusters.isEmpty { throw refuse("the specs have no Cluster", "There is nothing to have rights for.") }
            let message = cluster.map { "'\($0)' is no Cluster of the specs" } ?? "the specs have \(clusters.count) Clusters"
            throw refuse(message, "Give --cluster NAME, one of: \(names).")
        }
        let resources = desired.resources.filter { $0.address.target == chosen.name }
        var options = AccessRules.Options()
        options.namespace = namespace
        options.serviceAccount = serviceAccount
        options.isReportOnly = reportOnly
        options.electsLeader = electsLeader
        options.served = given(resources)
        if kubeconfig != nil {
            do throws(APIFailure) {
                options.served += try await served(resources, by: chosen)
            } catch {
                throw refuse("the server's kinds are not known: \(error.message)", "Without --kubeconfig no server is asked.")
            }
        }
        let rules: AccessRules
        do throws(AccessRules.UnknownKinds) {
            let inventory = InventoryID(cluster: chosen.name, declared: chosen.inventory, source: loaded.identity.id)
            rules = try AccessRules(resources, inventory: inventory, options: options)
        } catch {
            let kinds = error.kinds.joined(separator: ", ")
            throw refuse(
                "it is not known how rights call \(kinds)",
                "Ask the server with --kubeconfig FILE, or say it: --plural \(error.kinds.first ?? "")=PLURAL."
            )
        }
        let what = reportOnly ? "what Plumb needs to look at" : "what Plumb needs for"
        terminal.write(
            rules.yaml(heading: [
                "Printed by 'plumb rbac': \(what) the specs of \(chosen.name) as they are now, and nothing else.",
                "It may find out which kinds there are: every ServiceAccount may, unless an administrator has taken that away.",
            ])
        )
    }

    /// What `--plural` says, in the versions that are declared.
    private func given(_ resources: [DesiredResource]) -> [APIResource] {
        plurals.compactMap(Self.kind).flatMap { given in
            let ofKind = resources.filter { $0.kind == given.kind }
            let versions = Set(ofKind.compactMap { $0.fields["apiVersion"]?.stringValue }.map { GroupVersion($0) })
            return versions.filter { $0.group == given.group }.map {
                APIResource(groupVersion: $0, kind: given.kind, plural: given.plural, isNamespaced: given.isNamespaced)
            }
        }
    }

    private func served(_ resources: [DesiredResource], by cluster: Cluster) async throws(APIFailure) -> [APIResource] {
        let login = ClusterLogin(kubeconfig: kubeconfig, context: cluster.context ?? context, timeout: timeout.value)
        let connection = try ClusterConnection(login)
        let result: Result<[APIResource], APIFailure>
        do throws(APIFailure) {
            let found = try await ClusterKinds.servedKinds(of: resources) { (request) throws(APIFailure) in try await connection.send(request) }
            result = .success(found)
        } catch {
            result = .failure(error)
        }
        await connection.close()
        return try result.get()
    }

    private static func kind(_ text: String) -> (kind: String, group: String, plural: String, isNamespaced: Bool)? {
        let sides = text.split(separator: "=", omittingEmptySubsequences: false)
        guard sides.count == 2, let dot = sides[0].firstIndex(of: "."), dot != sides[0].startIndex else { return nil }
        let parts = sides[1].split(separator: ":", omittingEmptySubsequences: false)
        guard let plural = parts.first, isLabel(String(plural)), parts.count == 1 || parts.count == 2 && parts[1] == "cluster" else { return nil }
        return (String(sides[0][..<dot]), String(sides[0][sides[0].index(after: dot)...]), String(plural), parts.count == 1)
    }

    private static func isLabel(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count) && !text.hasPrefix("-") && !text.hasSuffix("-")
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || byte == UInt8(ascii: "-")
            }
    }
}
