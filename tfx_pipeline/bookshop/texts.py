"""Word lists of the built-in bookshop: topics, and templates of sentences that name them.

A topic has four facets, and a facet has two phrases in each language. Descriptions of books and texts of readers
contain these phrases, so a text reveals the facet, while the column `category` reveals only the category. Chinese
phrases prefer characters that are in all-MiniLM-L6-v2's vocabulary (it has 244; every other one becomes `[UNK]`).
"""

from __future__ import annotations

from dataclasses import dataclass

ENGLISH, CHINESE = 0, 1
LANGUAGES = ("en", "zh")
FACETS = 4

# Four facets of two phrases each: ((a, b), (a, b), (a, b), (a, b)).
Facets = tuple[tuple[str, str], tuple[str, str], tuple[str, str], tuple[str, str]]


@dataclass(frozen=True)
class Topic:
    """A topic. `phrases[language]` are its facets in the same order, `titles[language]` beginnings of titles."""

    name: str
    category: str
    phrases: tuple[Facets, Facets]
    titles: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def fiction(self) -> bool:
        return self.category == "fiction"


def _topic(category: str, name: str, english: str, chinese: str, titles: str, chinese_titles: str) -> Topic:
    return Topic(
        name,
        category,
        (_facets(english), _facets(chinese)),
        (tuple(titles.split(" / ")), tuple(chinese_titles.split(" / "))),
    )


def _facets(text: str) -> Facets:
    first, second, third, fourth = (tuple(facet.split(" | ")) for facet in text.split(" / "))
    return (_pair(first), _pair(second), _pair(third), _pair(fourth))


def _pair(phrases: tuple[str, ...]) -> tuple[str, str]:
    a, b = phrases
    return a, b


TOPICS: tuple[Topic, ...] = (
    _topic(
        "science",
        "astronomy",
        "the planets and their moons | the solar system / black holes | collapsing stars"
        " / backyard telescopes | stargazing on a clear night / the history of astronomy | early astronomers",
        "火星与月球 | 太阳系的行星 / 黑洞 | 恒星的一生 / 星空 | 天上的星星 / 天文学史 | 古代天文",
        "The Quiet Sky / Beyond the Milky Way / Light from Far Away / The Stargazer's Year",
        "仰望星空 / 天上有星 / 星光之下 / 太空来信",
    ),
    _topic(
        "science",
        "physics",
        "quantum mechanics | the strange world of the quantum / relativity and time | Einstein's relativity"
        " / light and optics | how light behaves / forces and motion | classical mechanics",
        "量子力学 | 量子的世界 / 相对论 | 光与时空 / 光学 | 光的本性 / 经典力学 | 力与运动",
        "The Elegant Equation / Seven Puzzles of Matter / A Universe of Forces / What Physicists Know",
        "力的世界 / 光与力 / 物理十课 / 有力的定律",
    ),
    _topic(
        "science",
        "geology",
        "volcanoes | eruptions and lava / rocks and minerals | collecting crystals"
        " / earthquakes | moving continents / caves and caverns | the geology beneath our feet",
        "火山 | 火山口 / 山石与矿物 | 石头的故事 / 大地震 | 大地的震动 / 地下洞穴 | 地下世界",
        "The Restless Earth / Written in Stone / Fire Mountain / Under the Crust",
        "大地之火 / 地心深处 / 石与火 / 火山日记",
    ),
    _topic(
        "science",
        "palaeontology",
        "dinosaurs | the age of dinosaurs / fossils | fossil hunting"
        " / early humans | human origins / mass extinctions | life before the ice age",
        "恐龙 | 恐龙与古生物 / 古生物化石 | 古生物学 / 古人类 | 古人的由来 / 古生物大灭绝 | 上古生命",
        "Bones of Giants / The Lost Herds / Deep Time / A Museum of Old Lives",
        "古生代 / 大地上的古生物 / 化石猎人 / 失落的古生世界",
    ),
    _topic(
        "nature",
        "oceans",
        "deep-sea diving | scuba diving / whales and dolphins | marine mammals"
        " / coral reefs | tropical fish / tides and ocean currents | the science of the oceans",
        "深海潜水 | 水下的海 / 海中的鲸 | 海里的大鱼 / 珊瑚海 | 海中小鱼 / 大海与海流 | 海水的科学",
        "The Blue Below / Salt and Silence / A Breath Underwater / The Whale Road",
        "海水之下 / 大海来信 / 海中有光 / 深海日记",
    ),
    _topic(
        "nature",
        "forests",
        "old forests | ancient woodlands / how trees grow | the secret life of trees"
        " / mushrooms and foraging | wild food from the woods / rainforests | the Amazon jungle",
        "森林 | 林中漫步 / 林木的生长 | 森林里的树 / 山林里的蘑菇 | 林中野食 / 热带雨林 | 原始森林",
        "The Green Hours / Roots and Rain / A Year Among Oaks / The Listening Wood",
        "森林一年 / 林中人家 / 走进森林 / 林间絮语",
    ),
    _topic(
        "nature",
        "gardening",
        "garden flowers | growing roses / vegetable gardens | growing your own tomatoes"
        " / houseplants | indoor plants / flower arranging | cut flowers",
        "种花 | 花园里的花 / 花园种菜 | 菜园与花 / 室内花木 | 家里的花草 / 插花 | 花艺",
        "The Patient Gardener / Dirt Under the Nails / Rose Season / A Plot of One's Own",
        "花开四季 / 花木手记 / 我家的花园 / 百花小记",
    ),
    _topic(
        "nature",
        "dogs",
        "dog training | teaching a puppy / dog breeds | working dogs"
        " / life with an old dog | true stories about dogs / canine behaviour | how dogs think",
        "训犬 | 幼犬训练 / 名犬 | 工作犬 / 家犬的故事 | 一只老犬 / 犬的行为 | 犬的内心",
        "Good Dog / The Muddy Paw / Four Legs Home / Sit, Stay, Stray",
        "家有小犬 / 犬与人 / 名犬之家 / 我的老犬",
    ),
    _topic(
        "history",
        "imperial_china",
        "the Three Kingdoms | Cao Cao and Liu Bei / Chinese emperors | life at the imperial court of China"
        " / the Ming dynasty | Ming dynasty China / ancient Chinese warfare | generals of ancient China",
        "三国 | 三国人物 / 历代皇帝 | 皇帝与皇后 / 明朝 | 明代皇帝 / 三国战争 | 帝王与名将",
        "The Yellow Robe / Nine Gates / Heaven's Mandate / The Fallen Dynasty",
        "帝王家 / 三国之后 / 大明王朝 / 皇帝的一天",
    ),
    _topic(
        "history",
        "japan",
        "the samurai | the way of the samurai / feudal Japan | shoguns and castles"
        " / old Kyoto | the court at Kyoto / modern Japan | Japan after the Meiji era",
        "日本武士 | 武士道 / 日本战国 | 日本古城 / 日本京都 | 京都旧事 / 明治日本 | 日本近代史",
        "The Last Sword / Snow on the Castle / The Kyoto Scrolls / Rising Sun, Setting Moon",
        "武士之国 / 京都春秋 / 日本国志 / 和之国",
    ),
    _topic(
        "history",
        "rome",
        "ancient Rome | Roman emperors / the Roman legions | Roman battles"
        " / Pompeii | everyday life of the Romans / Carthage | the ancient Mediterranean",
        "古罗马帝国 | 罗马大帝 / 罗马军团 | 帝国之战 / 庞贝古城 | 古城里的罗马人 / 地中海古国 | 地中海",
        "The Marble City / Eagles and Ashes / Seven Hills / The Senator's Son",
        "地中海帝国 / 古城之光 / 帝国西部 / 大帝之死",
    ),
    _topic(
        "history",
        "american_west",
        "the American West | the Wild West / cowboys and ranches | cattle drives"
        " / the gold rush | prospectors in California / Native American history | peoples of the Great Plains",
        "美国西部 | 西部往事 / 美国西部牛仔 | 西部牧场 / 美国淘金热 | 西部金山 / 美国原住民 | 美国西部的部落",
        "Dust and Silver / The Long Trail / West of the River / Prairie Fires",
        "西部来信 / 美国西行 / 西行金山 / 美国边地",
    ),
    _topic(
        "society",
        "law",
        "criminal law | famous trials / constitutional law | how constitutions work"
        " / courts and judges | the life of a judge / legislation | how laws are made",
        "刑法 | 大案与刑法 / 宪法 | 国家大法 / 司法 | 法官与法 / 立法 | 立法与法治",
        "The Empty Bench / Reasonable Doubt / Letters of the Law / Order in the Court",
        "法之门 / 法治之路 / 司法手记 / 法的精神",
    ),
    _topic(
        "society",
        "democracy",
        "democracy | how democracies fail / elections and voting | election campaigns"
        " / political parties | party politics / civil rights | citizens and their rights",
        "民主 | 民主政治 / 民主选举 | 选民与政治 / 政党 | 政党政治 / 公民权利 | 公民与政治",
        "The Ballot Box / A House Divided / We, the Voters / The Public Square",
        "人民与政治 / 公民一课 / 民主十讲 / 政治之心",
    ),
    _topic(
        "society",
        "business",
        "start-up companies | founding a company / management | leading a team at work"
        " / marketing | building a brand / corporate scandals | the fall of big companies",
        "创业公司 | 开一家公司 / 公司管理 | 公司里的团队 / 公司品牌 | 公司与市场 / 大公司的兴衰 | 公司丑闻",
        "From Garage to Boardroom / The Second Meeting / Growing Pains / The Bottom Line",
        "公司的力量 / 我的公司 / 小公司大志 / 公司十年",
    ),
    _topic(
        "society",
        "women",
        "women's history | women who changed the world / feminism | the feminist movement"
        " / women in science | women scientists / motherhood | mothers and daughters",
        "女性史 | 历史上的女子 / 女性主义 | 女权 / 女科学家 | 女子与科学 / 母女 | 女儿与母亲",
        "A Room with Many Doors / Her Own Name / Unwritten Lives / The Daughters' Century",
        "女子有志 / 她们 · 女人的一生 / 女子世界 / 女人这本书",
    ),
    _topic(
        "living",
        "fitness",
        "strength training | weightlifting / running a marathon | long-distance running"
        " / yoga | stretching and flexibility / healthy habits | staying fit after forty",
        "健美 | 健身力量训练 / 健身长跑 | 跑步与健身 / 健身瑜伽 | 健身拉伸 / 健康生活 | 保健",
        "Stronger Every Day / The Last Mile / Breathe and Bend / Fit Enough",
        "健美之道 / 健身一年 / 大健身 / 天天健身",
    ),
    _topic(
        "living",
        "cooking",
        "baking bread | sourdough / noodles and dumplings | hand-pulled noodles"
        " / cakes and pastries | French patisserie / home cooking | family recipes",
        "面包 | 手作面包 / 面食 | 手工面 / 美食西点 | 西式面点 / 家常美食 | 家中小食",
        "Flour and Fire / The Warm Kitchen / Salt, Sugar, Steam / Sunday at the Table",
        "面面俱到 / 四季美食 / 食在人间 / 一碗面",
    ),
    _topic(
        "living",
        "scent",
        "perfume | the art of perfumery / scent and memory | the sense of smell"
        " / incense | incense ceremonies / scented candles | home-made soap",
        "香水 | 调香 / 香气与记忆 | 香味 / 香道 | 古代熏香 / 香薰蜡烛 | 手工香皂",
        "The Nose Remembers / Amber and Iris / A Drop of Jasmine / Smoke and Resin",
        "香水来信 / 香之道 / 一缕香 / 香气四时",
    ),
    _topic(
        "living",
        "woodwork",
        "woodworking | hand tools and joinery / furniture making | building a chair"
        " / bamboo craft | weaving with bamboo / wood carving | carving wooden spoons",
        "木工 | 手作木工 / 木制家具 | 木桌与木椅 / 竹编 | 竹木手艺 / 木雕 | 木刻",
        "Against the Grain / The Quiet Workshop / Dovetails / Shavings on the Floor",
        "木与手 / 木工十年 / 竹木之间 / 手作之木",
    ),
    _topic(
        "arts",
        "songs",
        "folk songs | folk music / songwriting | writing lyrics"
        " / opera | great singers / jazz and blues | jazz musicians",
        "民歌 | 山歌 / 歌曲创作 | 写歌 / 歌剧 | 歌手与名曲 / 爵士歌曲 | 爵士名曲",
        "Three Chords / The Singer's Breath / Blue Hour / Songs My Village Sang",
        "歌者 / 天下民歌 / 一曲一生 / 歌声里的年代",
    ),
    _topic(
        "arts",
        "calligraphy",
        "Chinese calligraphy | brush and ink / seal carving | stone seals"
        " / lettering | the history of typefaces / ink painting | landscapes painted in ink",
        "书法 | 行书与书法 / 金石 | 金石印章 / 文字之美 | 美文与字体 / 水墨文人画 | 文人山水",
        "Black Ink, White Paper / The Seal Cutter / Twenty-Six Letters / A Line in Motion",
        "文人书法 / 金石有声 / 文字有灵 / 文人画",
    ),
    _topic(
        "arts",
        "architecture",
        "Buddhist temples | ancient temples / pagodas and timber halls | wooden architecture"
        " / cathedrals | Gothic architecture / modern architecture | houses by great architects",
        "古寺 | 山中古寺 / 寺中古塔 | 木构古寺 / 大教堂 | 西方教堂 / 现代建筑 | 名家宅院与古寺",
        "The Stone Vault / Halls of Cedar / Windows of Coloured Glass / Drawn to Scale",
        "寺与塔 / 古寺行走 / 殿堂 / 千年古寺",
    ),
    _topic(
        "arts",
        "philosophy",
        "Daoism | Laozi and the Dao / meditation | mindfulness and stillness"
        " / Confucius | Confucian ethics / Zen | Zen Buddhism",
        "道家 | 老子之道 / 静心 | 清心与冥想 / 孔子的仁 | 仁与道德 / 禅宗 | 禅心与道",
        "The Uncarved Block / Sitting Still / The Analects Revisited / One Hand",
        "道与心 / 道德之书 / 心之安定 / 仁者之心",
    ),
    _topic(
        "fiction",
        "wuxia",
        "swordsmen and martial heroes | wuxia adventures / feuding martial arts clans | revenge in the martial world"
        " / a lost sword manual | secret kung fu teachings / wandering outlaws | heroes of the marshes",
        "武林高手 | 武林 / 武林世家 | 武林恩怨 / 武功秘籍 | 失传的武学 / 武林好汉 | 行走武林的侠士",
        "The Crane and the Sword / Nine Rivers Blade / The Masked Disciple / Wind over the Pass",
        "武林外史 / 天下第一武 / 金手武侠 / 武林秋风",
    ),
    _topic(
        "fiction",
        "science_fiction",
        "first contact with aliens | alien civilisations / starships | voyages between the stars"
        " / robots | thinking machines / time travel | parallel universes",
        "外星人 | 外星文明 / 太空船 | 星际远航与太空 / 机器人 | 太空机器人 / 时空旅行 | 平行宇宙",
        "The Signal / Cold Orbit / A Clock with No Hands / Children of the Ninth Moon",
        "外星来客 / 太空之外 / 宇宙人 / 平行世界的我",
    ),
    _topic(
        "fiction",
        "myth",
        "Greek gods and myths | the gods of Olympus / dragons and magic | young wizards"
        " / Norse mythology | Viking sagas / Chinese gods and spirits | fox spirits and demons",
        "西方天神 | 神王与众神 / 神龙与魔法 | 小魔法师与神 / 北方神话 | 北海神话 / 神怪 | 山神与水神",
        "The Ash Tree / A Throne of Clouds / The Dragon's Apprentice / The Fox Wife",
        "众神的宴会 / 神的孩子 / 天神下凡 / 山神之女",
    ),
    _topic(
        "fiction",
        "crime",
        "detective stories | a clever detective / murder mysteries | a murder in a locked room"
        " / spies | cold war espionage / missing persons | the hunt for a missing girl",
        "名侦探与真相 | 侦探小说 / 密室命案 | 命案的真相 / 间谍 | 间谍与真相 / 失踪案 | 失踪的真相",
        "The Third Key / Nobody Heard the Shot / A Very Cold Case / The Man in Room Nine",
        "真相不明 / 谁在说真话 / 最后的真相 / 七号房间",
    ),
    _topic(
        "travel",
        "mountains",
        "mountaineering | climbing Everest / rock climbing | climbing big walls"
        " / hiking trails | walking across the hills / mountain villages | life in the high mountains",
        "登山 | 登上高山 / 攀岩 | 高山石壁 / 山中徒步 | 山道 / 山村 | 高山人家",
        "Above the Clouds / The North Face / A Rope Between Us / Thin Air, Clear Mind",
        "高山之上 / 山的那一面 / 行走高山 / 一山又一山",
    ),
    _topic(
        "travel",
        "rivers",
        "river journeys | down the Yangtze by boat / canals | old river towns"
        " / fly fishing | trout streams / the Mississippi | steamboats and river pilots",
        "大江大河 | 长江之行 / 江南水乡 | 江河古镇 / 江河垂钓 | 河中小鱼 / 河上行船 | 大河上的船",
        "Where the Water Goes / Slow Boat / The Ferryman's Map / Upstream",
        "江河万里 / 大河之南 / 江水东流 / 河上一年",
    ),
    _topic(
        "travel",
        "cities",
        "city walks | wandering city streets / street food | night markets"
        " / Paris | the cafés of Paris / New York | life in Manhattan",
        "城中漫步 | 城里的老街 / 街边小吃 | 夜市街 / 巴黎街头 | 巴黎的小街 / 纽约街头 | 纽约大街",
        "Corner to Corner / City of Lamps / Ten Streets / The Last Tram Home",
        "城与街 / 街头街尾 / 小城大街 / 街上的人",
    ),
    _topic(
        "travel",
        "languages",
        "learning Chinese | Chinese characters for learners / learning Japanese | Japanese for travellers"
        " / English grammar | writing better English / translation | the craft of translators",
        "中文写作 | 古文 / 日文入门 | 学日文 / 英文学习 | 学好英文 / 外文翻译 | 中英文翻译",
        "Mother Tongues / The Word for Home / Speak, Stumble, Repeat / Between Two Languages",
        "文与言 / 英文有道 / 学好一门外文 / 日文小书",
    ),
)

CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(topic.category for topic in TOPICS))

# {head}: beginning of the title; {s}: a phrase; {S}: the phrase in title case.
NONFICTION_TITLES = (
    (
        "{head}: A Guide to {S}",
        "{head}: Notes on {S}",
        "{head}: An Introduction to {S}",
        "{head}: Essays on {S}",
        "Understanding {S}",
        "A Short History of {S}",
        "{S} for Beginners",
        "The Pocket Book of {S}",
    ),
    (
        "{head}：{s}入门",
        "{head}：漫谈{s}",
        "{head}：{s}手记",
        "{s}简史",
        "走近{s}",
        "{s}十讲",
        "{head}——关于{s}",
        "给初学者的{s}",
    ),
)
FICTION_TITLES = (
    ("{head}", "{head}: A Novel", "{head}: A Tale of {S}", "{head} and Other Stories of {S}"),
    ("{head}", "{head}：{s}的故事", "{head}（长篇小说）", "{head}：{s}小说集"),
)
NONFICTION_OPENINGS = (
    (
        "A clear and lively book about {a}, with plenty on {b}.",
        "Everything you wanted to know about {a}, from the first steps to {b}.",
        "After twenty years of work on {a}, the author shares what matters most.",
        "Why do so many people fall for {a}? This book looks for an answer.",
        "An illustrated companion to {a} for curious readers.",
        "The best writing on {a}, collected in one volume.",
    ),
    (
        "一本讲{a}的好书，也谈到{b}。",
        "从零开始了解{a}，再到{b}。",
        "作者研究{a}二十年，把心得写成了这本书。",
        "为什么那么多人喜欢{a}？本书给出了答案。",
        "图文并茂，带你走进{a}。",
        "关于{a}的名家文章，都收在这一本里。",
    ),
)
FICTION_OPENINGS = (
    (
        "A gripping story of {a}.",
        "A novel about {a}, and about what it costs to keep a promise.",
        "If you love {a}, you will read this in one night.",
        "Nobody in the village believed in {b} until that winter.",
        "The first volume of a series full of {a}.",
        "A young woman, an old secret, and {a}.",
    ),
    (
        "一个关于{a}的故事，让人一口气读完。",
        "写{a}，也写人心。",
        "喜欢{a}的读者不可错过。",
        "那年冬天之前，村里没有人相信{b}。",
        "系列第一部，{a}轮番登场。",
        "一个年轻人，一个旧秘密，还有{a}。",
    ),
)
SECOND_SENTENCES = (
    (
        "Later chapters turn to {c}.",
        "There is also a long part on {c}.",
        "Readers of books on {b} will feel at home.",
        "Along the way we meet {c}.",
        "Written with {b} in mind.",
        "",
    ),
    (
        "后半部分还写到{c}。",
        "书中另有一章专谈{c}。",
        "喜欢{b}的人一定会喜欢。",
        "字里行间也有{c}的影子。",
        "尤其适合想了解{b}的读者。",
        "",
    ),
)
LAST_SENTENCES = (
    (
        "Winner of a readers' prize.",
        "With a new foreword.",
        "No previous knowledge needed.",
        "Includes maps and a reading list.",
        "Now in paperback.",
        "",
        "",
    ),
    ("曾获读者奖。", "附新版序言。", "不需要任何基础。", "附地图与书单。", "平装新版。", "", ""),
)

# Queries that readers type into the search box.
QUERIES = (
    (
        "{s}",
        "books about {s}",
        "best books on {s}",
        "{s} for beginners",
        "something new on {s}",
        "{s} paperback",
        "good book on {s}?",
    ),
    ("{s}", "关于{s}的书", "{s} 推荐", "{s}入门", "讲{s}的新书", "有没有{s}的书", "{s} 好书"),
)
# The end of a review: what the reader wants next.
INTENTS = (
    (
        "Next I want to read about {s}.",
        "Now I am curious about {s}.",
        "Can anyone recommend a good book on {s}?",
        "I think my next book will be about {s}.",
        "Lately I can't stop thinking about {s}.",
        "Time to learn something about {s}.",
        "My wish list is filling up with {s}.",
        "A friend got me hooked on {s}, so that comes next.",
        "Looking for something on {s} now.",
        "These days I would rather read about {s}.",
        "Please stock more books on {s}!",
        "For the holidays I am planning to dive into {s}.",
    ),
    (
        "接下来想看看{s}。",
        "现在对{s}越来越好奇。",
        "有没有关于{s}的好书推荐？",
        "下一本打算读{s}。",
        "最近满脑子都是{s}。",
        "是时候了解一下{s}了。",
        "书单上已经加了好几本{s}。",
        "朋友让我迷上了{s}，下次就买这个。",
        "现在正在找讲{s}的书。",
        "这阵子更想读{s}。",
        "希望多上一些{s}的书！",
        "放假准备好好读读{s}。",
    ),
)
# A remark on the book just read.
REMARKS = (
    (
        "The part about {s} was the best.",
        "I liked how it deals with {s}.",
        "Finally a book that takes {s} seriously.",
        "You can tell the author knows {s}.",
    ),
    ("讲{s}的部分最好看。", "写{s}写得很细。", "终于有一本认真写{s}的书。", "看得出作者很懂{s}。"),
)
# By sentiment: disappointed, mixed, pleased. An opinion is a sentence of the first half and one of the second.
OPINIONS = (
    (
        (
            ("Not what I hoped for.", "Rather dull.", "I gave up halfway.", "Poorly edited.", "Too long by half."),
            ("", "The print is tiny.", "It arrived late, too.", "Two stars for the cover."),
        ),
        (
            ("It was fine.", "Good in parts.", "Decent, nothing more.", "Slow start, better end.", "Solid work."),
            ("", "Worth borrowing.", "I expected a little more.", "The pictures help."),
        ),
        (
            ("Loved it!", "Wonderful book.", "Read it in two evenings.", "A gem.", "Five stars from me.", "So good 👍"),
            ("", "Beautifully written.", "I gave a copy to my sister.", 'The edition is lovely, "a keeper".'),
        ),
    ),
    (
        (
            ("有点失望。", "读不下去。", "翻了一半就放下了。", "编校太差。", "写得太啰嗦。"),
            ("", "字也太小。", "快递还慢。", "封面倒是不错。"),
        ),
        (
            ("还行吧。", "中规中矩。", "有好有坏。", "开头慢，后面好一些。", "值得借来看看。"),
            ("", "插图不错。", "期待更高一点。", "价格合适。"),
        ),
        (
            ("太好看了！", "非常喜欢。", "两个晚上就读完了。", "强烈推荐。", "五星好评👍", "难得的好书。"),
            ("", "文笔很美。", "又买了一本送朋友。", "装帧也漂亮，“值得收藏”。"),
        ),
    ),
)

SURNAMES = (
    [
        "Abbott",
        "Baker",
        "Carver",
        "Dalton",
        "Ellis",
        "Fairfax",
        "Grant",
        "Hollis",
        "Irwin",
        "Jarvis",
        "Keller",
        "Lowell",
        "Marsh",
        "Norwood",
        "Osborne",
        "Palmer",
        "Quill",
        "Rhodes",
        "Sutton",
        "Thorne",
        "Underhill",
        "Vance",
        "Whitlock",
        "Yates",
    ],
    [
        "王",
        "李",
        "张",
        "刘",
        "陈",
        "杨",
        "黄",
        "赵",
        "周",
        "吴",
        "徐",
        "孙",
        "胡",
        "朱",
        "高",
        "林",
        "何",
        "郭",
        "马",
        "罗",
        "梁",
        "宋",
        "郑",
        "谢",
    ],
)
GIVEN_NAMES = (
    [
        "Ada",
        "Benjamin",
        "Clara",
        "Daniel",
        "Edith",
        "Felix",
        "Grace",
        "Henry",
        "Iris",
        "James",
        "Katherine",
        "Leo",
        "Martha",
        "Nathan",
        "Olive",
        "Peter",
        "Rosa",
        "Samuel",
        "Tessa",
        "Victor",
    ],
    [
        "安",
        "文",
        "明",
        "海",
        "春生",
        "雪梅",
        "志远",
        "小川",
        "秋实",
        "晓风",
        "天宇",
        "佳音",
        "立人",
        "若水",
        "长青",
        "子义",
        "婉清",
        "书言",
        "思远",
        "一鸣",
    ],
)


def title_case(phrase: str, leading: bool) -> str:
    """`the history of astronomy` -> `The History of Astronomy`; inner capitals stay as they are.

    With `leading`, for a phrase that begins the title, the first word always gets a capital.
    """
    small = {"a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "the", "to", "with"}
    words = [word if word in small else word[0].upper() + word[1:] for word in phrase.split()]
    if leading:
        words[0] = words[0][0].upper() + words[0][1:]
    return " ".join(words)
