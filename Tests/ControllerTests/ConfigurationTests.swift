import Controller
import Forge
import Foundation
import ResourceModel
import Testing
import YAML

@Suite struct ConfigurationTests {
    private func mistakes(_ text: String) -> [String] {
        do throws(ConfigurationMistakes) {
            _ = try Configuration(yaml: Array(text.utf8), file: "plumb.yaml")
            return []
        } catch {
            return error.diagnostics.map { "\($0.position.line):\($0.position.column): \($0.message)" }
        }
    }

    @Test func hasDefaultsForAllButTheSource() throws {
        let configuration = try Configuration(yaml: Array("source: {url: /srv/specs}".utf8), file: "plumb.yaml")
        #expect(configuration.source.url == "/srv/specs")
        #expect(configuration.source.poll == .seconds(300))
        #expect(configuration.policy.mode == .auto)
        #expect(configuration.limits.maxDeletes == 10)
        #expect(configuration.operations.listen?.description == "127.0.0.1:9464")
        #expect(configuration.webhooks == nil)
        #expect(configuration.leaderElection == nil)
    }

    @Test func readsEveryKey() throws {
        let text = """
            source:
              url: https://git.example/infra.git
              revision: main
              path: clusters/home
              poll: 2m
              pollWithWebhooks: 2h
              timeout: 30s
              allowEmpty: true
              tokenFile: /etc/plumb/token
              caFile: /etc/plumb/ca.pem
              verify: {allowedSigners: /etc/plumb/allowed_signers}
            dataDirectory: /var/lib/plumb
            kubernetes: {kubeconfig: /etc/plumb/kubeconfig, context: home}
            ssh: {identity: /etc/plumb/id, knownHosts: /etc/plumb/known_hosts, config: /etc/plumb/ssh_config}
            policy:
              apply: report
              rules:
                - {paths: ["hosts/**"], kinds: [NetworkInterface], targets: ["pi-*"], apply: auto}
              allow:
                - {paths: ["**"], hosts: ["pi-*"], contexts: [home], namespaces: [default], kinds: [Service]}
            limits: {concurrency: 4, timeout: 10s, confirmTimeout: 20s, maxDeletes: 0, maxUnavailable: 2, maxFailures: 3, audit: 1h, shutdown: 5s, history: 24h}
            webhooks:
              listen: "[::]:9000"
              tls: {certificateFile: /a, keyFile: /b}
              repository: me/infra
              providers: [{forge: github, secretFiles: [/s1, /s2]}]
            operations: {listen: none}
            socket: {path: /run/plumb/control.sock, group: git}
            log: {format: json, level: debug}
            fights: {reverts: 3, within: 5m, maximumBackoff: 2h}
            leaderElection: {context: home, namespace: plumb, name: lease, identity: a}
            reports:
              forge: github
              url: https://github.example
              repository: me/infra
              app: {id: "12", installation: 34, keyFile: /key.pem}
              caFile: /ca.pem
              pullRequests: false
              driftIssue: true
              plansPerAuthor: 3
              hideValues: never
            """
        let configuration = try Configuration(yaml: Array(text.utf8), file: "plumb.yaml")
        #expect(configuration.source.allowedSigners == "/etc/plumb/allowed_signers")
        #expect(configuration.policy.rules.first?.mode == .auto)
        #expect(configuration.policy.allow.first?.hosts == ["pi-*"])
        #expect(configuration.limits.maxFailures == 3)
        #expect(configuration.webhooks?.listen == Configuration.Address("::", 9000))
        #expect(configuration.operations.listen == nil)
        #expect(configuration.fights.maximumBackoff == .seconds(7200))
        #expect(configuration.leaderElection?.name == "lease")
        var reports = Configuration.Reports(forge: .github, repository: "me/infra")
        reports.url = "https://github.example"
        reports.app = .init(id: "12", installation: 34, keyFile: "/key.pem")
        reports.authorityFile = "/ca.pem"
        (reports.pullRequests, reports.driftIssue, reports.plansPerAuthor, reports.hideValues) = (false, true, 3, .never)
        #expect(configuration.reports == reports)
    }

    @Test(arguments: [
        ("https://git.example.org/infra/state.git", "infra/state"), ("git@git.example.org:infra/state.git", "infra/state"),
        ("ssh://git@git.example.org:2222/infra/state", "infra/state"), ("https://git.example.org/infra/state.git//specs", "infra/state"),
    ])
    func theRepositoryIsThatOfTheSource(url: String, name: String) throws {
        let text = "source: {url: \"\(url)\"}\nreports: {forge: gitea, url: \"https://git.example.org\", tokenFile: /t}"
        let reports = try Configuration(yaml: Array(text.utf8), file: "plumb.yaml").reports
        #expect(reports?.repository == name)
        #expect(reports?.pullRequests == true && reports?.driftIssue == false && reports?.plansPerAuthor == 10 && reports?.hideValues == .auto)
    }

    @Test(arguments: [
        ("{}", "missing field 'reports.forge'"),
        ("{forge: githb, repository: a/b, tokenFile: /t}", "'reports.forge' can't be 'githb'"),
        ("{forge: gitea, repository: a/b, tokenFile: /t}", "Gitea has no public address"),
        ("{forge: github, repository: a, tokenFile: /t}", "'a' is no name of a repository at GitHub"),
        ("{forge: github, repository: a/b}", "needs either 'tokenFile' or 'app'"),
        ("{forge: github, repository: a/b, tokenFile: /t, app: {id: \"1\", keyFile: /k}}", "needs either 'tokenFile' or 'app'"),
        ("{forge: gitlab, repository: a/b, app: {id: \"1\", keyFile: /k}}", "GitLab has no Apps"),
        ("{forge: github, repository: a/b, app: {id: \"1\"}}", "missing field 'reports.app.keyFile'"),
        ("{forge: gitea, url: \"http://git.example\", repository: a/b, tokenFile: /t}", "would carry the token in the clear"),
        ("{forge: github, repository: a/b, token: secret}", "unknown field 'reports.token'"),
        ("{forge: github, repository: a/b, tokenFile: t}", "must be an absolute path"),
    ])
    func whatIsWrongWithReportsIsSaid(reports: String, message: String) {
        let found = mistakes("source: {url: \"https://git.example/a/b\"}\nreports: \(reports)")
        #expect(found.contains { $0.hasPrefix("2:") && $0.contains(message) }, "\(found)")
    }

    @Test func aFolderHasNoPullRequests() {
        let reports = "reports: {forge: github, repository: a/b, tokenFile: /t"
        #expect(mistakes("source: {url: /srv/specs}\n\(reports)}") == ["2:1: 'reports' needs a 'source.url' that is a git repository"])
        #expect(mistakes("source: {url: /srv/specs}\n\(reports), pullRequests: false}") == [])
    }

    @Test func namesEveryMistakeWithItsPlace() {
        let text = """
            sorce: {url: x}
            limits: {concurrency: 0, timeout: 5 minutes}
            webhooks: {listen: nowhere}
            policy: {rules: [{kinds: [Service]}]}
            dataDirectory: relative
            socket: {group: git}
            """
        let found = mistakes(text)
        #expect(found.contains("1:1: missing field 'source'"))
        #expect(found.contains { $0.hasPrefix("1:1: unknown field 'sorce'") })
        #expect(found.contains { $0.hasPrefix("2:23: 'limits.concurrency'") || $0.contains("limits.concurrency") })
        #expect(found.contains { $0.contains("'limits.timeout' must be a duration") })
        #expect(found.contains { $0.contains("'webhooks.listen' must be HOST:PORT") })
        #expect(found.contains { $0.contains("at least one of 'providers'") })
        #expect(found.contains { $0.contains("missing field 'apply'") })
        #expect(found.contains("6:10: 'socket.group' needs 'socket.path'"))
        #expect(found.contains { $0.contains("'dataDirectory' must be an absolute path") })
    }

    /// The commented example names every key with its default: uncommented, it is good, too.
    @Test func theExampleHasEveryKey() throws {
        let example = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("examples/controller/plumb.yaml")
        let text = try String(contentsOf: example, encoding: .utf8)
        let configuration = try Configuration(yaml: Array(text.utf8), file: "plumb.yaml")
        #expect(configuration.source.path == "specs")
        // The first two lines and lines of prose have no colon after a word at their start.
        let all = text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
            let indent = line.prefix { $0 == " " }
            let rest = line.dropFirst(indent.count)
            guard rest.hasPrefix("# "), rest.wholeMatch(of: /# ( *)(- \{.*|[A-Za-z]+:.*)/) != nil else { return String(line) }
            return String(indent + rest.dropFirst(2))
        }
        .dropFirst(4).joined(separator: "\n")
        let full = try Configuration(yaml: Array(all.utf8), file: "plumb.yaml")
        let plain = Configuration()
        #expect(full.limits.concurrency == plain.limits.concurrency)
        #expect(full.limits.audit == plain.limits.audit)
        #expect(full.limits.shutdown == plain.limits.shutdown)
        #expect(full.limits.history == plain.limits.history)
        #expect(full.source.poll == plain.source.poll)
        #expect(full.source.pollWithWebhooks == plain.source.pollWithWebhooks)
        #expect(full.fights == plain.fights)
        #expect(full.operations == plain.operations)
        #expect(full.webhooks?.providers.first?.forge == "github")
        #expect(full.leaderElection?.name == "plumb-controller")
        #expect(full.policy.allow.count == 2 && full.policy.rules.count == 2)
        var reports = Configuration.Reports(forge: .github, repository: "infra/state")
        (reports.url, reports.tokenFile, reports.authorityFile) = ("https://github.com", "/etc/plumb/keys/forge", "/etc/plumb/ca.pem")
        #expect(full.reports == reports)
    }

    @Test func anEmptyFileIsAMistake() { #expect(mistakes("") == ["1:1: the file is empty"]) }
}
