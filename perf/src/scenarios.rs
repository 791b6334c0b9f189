//! The scenarios, as data. Adding one is one entry here.

use crate::corpus::Corpus;

/// What is run: a corpus, and a configuration for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name, as `-k` takes it.
    pub(crate) name: &'static str,
    /// One line about it, for records.
    pub(crate) about: &'static str,
    /// What the files hold.
    pub(crate) corpus: Corpus,
    /// How many files the megabytes are spread over.
    pub(crate) files: usize,
    /// Lines of the tail section. `@WORK@` is the run's folder.
    pub(crate) tail: &'static str,
    /// Filter sections, `@WORK@` in them as well.
    pub(crate) filters: &'static str,
    /// Something in the lines gives records their time, so that it can be compared.
    pub(crate) timed: bool,
}

const GREP: &str = "[FILTER]\n    Name   grep\n    Match  *\n    Regex  level (ERROR|FATAL)\n";
const CHAIN: &str = "[FILTER]\n    Name          parser\n    Match         *\n    Key_Name      log\n    Parser        json\n    Reserve_Data  On\n\
    [FILTER]\n    Name    record_modifier\n    Match   *\n    Record  cluster_name demo\n    Record  region us-west-2\n";
/// Four filters in a row; with a function behind them where one is given.
macro_rules! five {
    ($lua:literal) => {
        concat!(
            "[FILTER]\n    Name      parser\n    Match     *\n    Key_Name  log\n    Parser    json\n",
            "[FILTER]\n    Name    modify\n    Match   *\n    Rename  message msg\n    Add     cluster demo\n",
            "[FILTER]\n    Name        nest\n    Match       *\n    Operation   nest\n    Wildcard    level\n    Wildcard    msg\n    Nest_under  event\n",
            "[FILTER]\n    Name   grep\n    Match  *\n    Regex  $event['level'] (INFO|WARN|ERROR)\n",
            $lua
        )
    };
}
const FIVE: &str = five!("");
const FIVE_AND_LUA: &str = five!(
    "[FILTER]\n    Name   lua\n    Match  *\n    call   f\n    code   function f(tag, ts, r) r.bad = r.event.level == 'ERROR' return 2, ts, r end\n"
);
/// A node's usual chain; what the API would tell stands in a file.
const KUBERNETES: &str = "[FILTER]\n    Name                         kubernetes\n    Match                        *\n    Kube_URL                     http://127.0.0.1:1\n    \
    Kube_Tag_Prefix              a\n    Regex_Parser                 pod\n    Kube_Meta_Preload_Cache_Dir  @WORK@\n    Merge_Log                    On\n    Merge_Log_Key                log_processed\n    \
    Keep_Log                     On\n    K8S-Logging.Parser           On\n\
    [FILTER]\n    Name          parser\n    Match         *\n    Key_Name      log\n    Parser        json\n    Reserve_Data  On\n\
    [FILTER]\n    Name    modify\n    Match   *\n    Rename  message msg\n    Add     cluster demo\n\
    [FILTER]\n    Name        nest\n    Match       *\n    Operation   nest\n    Wildcard    level\n    Wildcard    msg\n    Nest_under  event\n\
    [FILTER]\n    Name   grep\n    Match  *\n    Regex  $event['level'] (INFO|WARN|ERROR)\n";
const CONTAINERS: &str = "multiline.parser docker, cri";

/// One file, no parser, no filter.
const BASE: Scenario = Scenario {
    name: "plain",
    about: "lines as they are",
    corpus: Corpus::Plain,
    files: 1,
    tail: "",
    filters: "",
    timed: false,
};

/// Every scenario, in the order of a record.
pub(crate) const SCENARIOS: &[Scenario] = &[
    BASE,
    Scenario {
        name: "json",
        about: "JSON lines, time taken from a field",
        corpus: Corpus::App,
        tail: "Parser json",
        timed: true,
        ..BASE
    },
    Scenario {
        name: "json-mixed",
        about: "JSON of many shapes, some broken",
        corpus: Corpus::Mixed,
        tail: "Parser json",
        ..BASE
    },
    Scenario {
        name: "json-grep",
        about: "JSON lines, one level in six kept",
        corpus: Corpus::App,
        tail: "Parser json",
        filters: GREP,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "nginx",
        about: "access log by a regular expression",
        corpus: Corpus::Nginx,
        tail: "Parser nginx",
        timed: true,
        ..BASE
    },
    Scenario {
        name: "cri",
        about: "container log",
        corpus: Corpus::Cri,
        tail: CONTAINERS,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "cri-json",
        about: "container log, JSON inside, two fields added",
        corpus: Corpus::Cri,
        tail: CONTAINERS,
        filters: CHAIN,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "cri-json-20",
        about: "the same from twenty files, with a DB",
        corpus: Corpus::Cri,
        files: 20,
        tail: "multiline.parser docker, cri\n    DB @WORK@/tail.db",
        filters: CHAIN,
        timed: true,
    },
    Scenario {
        name: "filters",
        about: "four filters in a row: parser, modify, nest, grep",
        corpus: Corpus::App,
        filters: FIVE,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "filters-lua",
        about: "the same, and a Lua function behind them",
        corpus: Corpus::App,
        filters: FIVE_AND_LUA,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "kubernetes",
        about: "container log, pod metadata, JSON merged; then parser, modify, nest, grep",
        corpus: Corpus::Cri,
        tail: CONTAINERS,
        filters: KUBERNETES,
        timed: true,
        ..BASE
    },
    Scenario {
        name: "java",
        about: "stack traces joined",
        corpus: Corpus::Java,
        tail: "multiline.parser java",
        ..BASE
    },
];

/// The pod that the tag `app` names, as the API tells it, and its file.
pub(crate) const POD: (&str, &str) = (
    "p_p.meta",
    r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"p","uid":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","labels":{"app":"myapp","version":"1.2.3","environment":"production","pod-template-hash":"7d4f8b5c8"},"annotations":{"kubernetes.io/psp":"eks.privileged","prometheus.io/scrape":"true"}},"spec":{"nodeName":"ip-10-0-1-123.ec2.internal"},"status":{"podIP":"10.0.1.55","containerStatuses":[]}}"#,
);

/// The parsers that scenarios name.
pub(crate) const PARSERS: &str = r#"[PARSER]
    Name         pod
    Format       regex
    Regex        ^(?<pod_name>p)(?<namespace_name>p)$
[PARSER]
    Name         json
    Format       json
    Time_Key     timestamp
    Time_Format  %Y-%m-%dT%H:%M:%S.%LZ
    Time_Keep    On
[PARSER]
    Name         nginx
    Format       regex
    Regex        ^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^\"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>[^\"]*)")?$
    Time_Key     time
    Time_Format  %d/%b/%Y:%H:%M:%S %z
"#;

impl Scenario {
    /// One file: the engine ends by itself at its end. Several: it is stopped once it has delivered all of them.
    pub(crate) fn ends_itself(&self) -> bool {
        self.files == 1
    }

    /// Records that a corpus of so many lines becomes.
    pub(crate) fn records(&self, lines: u64) -> u64 {
        match self.corpus {
            // A head line and a joined trace for every eight lines, and the last line.
            Corpus::Java => lines / 4 + lines % 8,
            _ => lines,
        }
    }

    /// The whole configuration.
    pub(crate) fn configuration(&self, corpus: &str, work: &str, port: u16) -> String {
        let server = format!("    HTTP_Server   On\n    HTTP_Listen   127.0.0.1\n    HTTP_Port     {port}\n");
        let (server, end) =
            if self.ends_itself() { (String::new(), "    Exit_On_Eof        On\n") } else { (server, "") };
        let [tail, filters] = [self.tail, self.filters].map(|text| text.replace("@WORK@", work));
        format!(
            "[SERVICE]\n    Flush         1\n    Grace         5\n    Log_Level     error\n    Parsers_File  parsers.conf\n{server}\
             [INPUT]\n    Name               tail\n    Path               {corpus}/*.log\n    Tag                app\n    \
             Read_from_Head     On\n    Buffer_Chunk_Size  512k\n    Buffer_Max_Size    4M\n{end}    {tail}\n\
             {filters}[OUTPUT]\n    Name   file\n    Match  *\n    Path   {work}\n    File   out.txt\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_and_counted_scenarios_filter_nothing() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..at].iter().all(|s| s.name != scenario.name), "{}", scenario.name);
            // `records` knows of no filter that drops.
            assert!(scenario.ends_itself() || !scenario.filters.contains("grep"), "{}", scenario.name);
        }
    }

    #[test]
    fn a_configuration_holds_all_of_its_scenario() {
        let many = SCENARIOS.iter().find(|s| s.files > 1).expect("one of several files");
        let text = many.configuration("/data", "/scratch", 2020);
        for part in [
            "HTTP_Port     2020",
            "Path               /data/*.log",
            "DB /scratch/tail.db",
            "record_modifier",
            "File   out.txt",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(
            !text.contains("Exit_On_Eof")
                && BASE.configuration("/data", "/scratch", 1).contains("Exit_On_Eof")
        );
    }
}
