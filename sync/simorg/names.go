package simorg

import "strings"

// culture is where a person's name comes from. plain gives the same names in ASCII, for addresses of e-mail.
type culture struct {
	first, last, plainFirst, plainLast []string
	cities                             []place
	domain                             string
}

type place struct{ city, state, postal, country string }

func cultureOf(domain, first, plainFirst, last, plainLast string, cities ...place) culture {
	c := culture{strings.Split(first, ","), strings.Split(last, ","), strings.Split(plainFirst, ","), strings.Split(plainLast, ","), cities, domain}
	if len(c.first) != len(c.plainFirst) || len(c.last) != len(c.plainLast) {
		panic("simorg: names of " + domain + " and their ASCII forms differ in number")
	}
	return c
}

// The first four make up most of an org; the rest are there because text must survive whatever people are called.
var cultures = []culture{
	cultureOf("com",
		"Mary,James,Patricia,Robert,Jennifer,John,Linda,Michael,Elizabeth,David,Barbara,William,Susan,Richard,Jessica,Joseph,Sarah,Thomas,Karen,Charles",
		"mary,james,patricia,robert,jennifer,john,linda,michael,elizabeth,david,barbara,william,susan,richard,jessica,joseph,sarah,thomas,karen,charles",
		"Smith,Johnson,Williams,Brown,Jones,O'Brien,Miller,Davis,Wilson,Anderson,Taylor,Moore,Jackson,Martin,Lee,Thompson,White,St. John,Clark,Null",
		"smith,johnson,williams,brown,jones,obrien,miller,davis,wilson,anderson,taylor,moore,jackson,martin,lee,thompson,white,stjohn,clark,null",
		place{"Austin", "TX", "78701", "United States"}, place{"Portland", "OR", "97204", "United States"}, place{"Boston", "MA", "02110", "United States"}, place{"St. Louis", "MO", "63101", "United States"}),
	cultureOf("co.uk",
		"Oliver,Amelia,Harry,Isla,George,Ava,Noah,Emily,Jack,Sophia,Siân,Niamh",
		"oliver,amelia,harry,isla,george,ava,noah,emily,jack,sophia,sian,niamh",
		"Evans,Hughes,Walker,Wright,Robinson,Patel,McDonald,Fitzgerald-Smythe,Clarke,Okafor,Khan,Ó Súilleabháin",
		"evans,hughes,walker,wright,robinson,patel,mcdonald,fitzgeraldsmythe,clarke,okafor,khan,osuilleabhain",
		place{"London", "", "EC1A 1BB", "United Kingdom"}, place{"Edinburgh", "Scotland", "EH1 1YZ", "United Kingdom"}, place{"Llanfairpwllgwyngyll", "Wales", "LL61 5UJ", "United Kingdom"}),
	cultureOf("fr",
		"Émilie,François,Chloé,Jérôme,Noël,Zoé,Benoît,Anaïs,Loïc,Marie-Thérèse",
		"emilie,francois,chloe,jerome,noel,zoe,benoit,anais,loic,marietherese",
		"Dupont,Lefèvre,Béranger,d'Estaing,Gauthier,Müller,de La Tour,Çelik,Garçon,Œuvrard",
		"dupont,lefevre,beranger,destaing,gauthier,muller,delatour,celik,garcon,oeuvrard",
		place{"Paris", "Île-de-France", "75001", "France"}, place{"Besançon", "", "25000", "France"}),
	cultureOf("de",
		"Jürgen,Käthe,Björn,Günther,Ännchen,Sören,Anke,Weiß,Uwe,Heike",
		"juergen,kaethe,bjoern,guenther,aennchen,soeren,anke,weiss,uwe,heike",
		"Müller,Schröder,Groß,Jäger,von der Heide,Köhler,Straßer,Özdemir,Bauer,Schmidt",
		"mueller,schroeder,gross,jaeger,vonderheide,koehler,strasser,oezdemir,bauer,schmidt",
		place{"München", "Bayern", "80331", "Deutschland"}, place{"Köln", "", "50667", "Deutschland"}),
	cultureOf("es",
		"José,María,Ángel,Íñigo,Begoña,Jesús,Sofía,Raúl", "jose,maria,angel,inigo,begona,jesus,sofia,raul",
		"García,Núñez,Peña,Rodríguez y Soto,Muñoz,Ibáñez,Güell,Fernández", "garcia,nunez,pena,rodriguezysoto,munoz,ibanez,guell,fernandez",
		place{"A Coruña", "Galicia", "15001", "España"}, place{"Ciudad de México", "CDMX", "06000", "México"}),
	cultureOf("pl",
		"Łukasz,Agnieszka,Wojciech,Małgorzata,Grzegorz", "lukasz,agnieszka,wojciech,malgorzata,grzegorz",
		"Wójcik,Brzęczyszczykiewicz,Żółć,Kowalczyk,Dąbrowska", "wojcik,brzeczyszczykiewicz,zolc,kowalczyk,dabrowska",
		place{"Łódź", "łódzkie", "90-001", "Polska"}),
	cultureOf("jp",
		"太郎,花子,健,美咲,さくら", "taro,hanako,ken,misaki,sakura", "山田,佐藤,鈴木,高橋,髙﨑", "yamada,sato,suzuki,takahashi,takasaki",
		place{"東京都千代田区", "東京都", "100-0001", "日本"}),
	cultureOf("cn",
		"伟,芳,娜,秀英,𠮷", "wei,fang,na,xiuying,ji", "王,李,张,刘,欧阳", "wang,li,zhang,liu,ouyang",
		place{"北京", "北京市", "100000", "中国"}),
	cultureOf("kr",
		"민준,서연,도윤,지우", "minjun,seoyeon,doyun,jiwoo", "김,이,박,최", "kim,lee,park,choi",
		place{"서울", "", "04524", "대한민국"}),
	cultureOf("ru",
		"Алексей,Наталья,Дмитрий,Юлия,Фёдор", "alexey,natalya,dmitry,yulia,fyodor", "Иванова,Кузнецов,Щербаков,Попова,Соловьёв", "ivanova,kuznetsov,shcherbakov,popova,solovyov",
		place{"Санкт-Петербург", "", "190000", "Россия"}),
	cultureOf("gr",
		"Γιώργος,Ελένη,Ἀχιλλεύς", "giorgos,eleni,achilleus", "Παπαδόπουλος,Οικονόμου,Αγγελοπούλου", "papadopoulos,oikonomou,angelopoulou",
		place{"Αθήνα", "Αττική", "105 57", "Ελλάδα"}),
	cultureOf("eg",
		"محمد,فاطمة,أحمد,ليلى", "mohamed,fatima,ahmed,layla", "الحسيني,عبد الرحمن,منصور,النجار", "elhusseini,abdelrahman,mansour,elnaggar",
		place{"القاهرة", "", "11511", "مصر"}),
	cultureOf("il",
		"יעל,דוד,נועה", "yael,david,noa", "כהן,לוי,מזרחי", "cohen,levi,mizrahi", place{"תל אביב", "", "6100000", "ישראל"}),
	cultureOf("in",
		"प्रिया,अर्जुन,Ananya,Rāma", "priya,arjun,ananya,rama", "शर्मा,Iyer,Krishnamurthy,Chattopādhyāẏa", "sharma,iyer,krishnamurthy,chattopadhyaya",
		place{"मुंबई", "Maharashtra", "400001", "India"}),
	cultureOf("vn",
		"Nguyễn Ngọc,Đức,Thị Hồng", "nguyenngoc,duc,thihong", "Trần,Đỗ,Phạm", "tran,do,pham", place{"Thành phố Hồ Chí Minh", "", "700000", "Việt Nam"}),
	// Texts that programs get wrong: decomposed accents, an emoji with joiners, quotes, spaces at the ends, words that look like nothing.
	cultureOf("example",
		"Zoe\u0308,NULL,NA,  Lee ,\"Bob\",👩‍👩‍👧 Kim,nil,O\\'Neil,-,N/A", "zoe,null,na,lee,bob,kim,nil,oneil,dash,nna",
		"Test,\\N,undefined,O\"Hara,Smith, Jr.,#N/A,=1+1,Robert'); DROP TABLE Lead;--,true,0x1F", "test,n,undefined,ohara,smith,jr,na,sum,tables,true,hex",
		place{"Null Island", "NA", "00000", "NULL"}),
}

var (
	companyHeads = strings.Split("Acme,Globex,Initech,Umbrella,Stark,Wayne,Hooli,Vandelay,Soylent,Wonka,Tyrell,Cyberdyne,Aperture,Duff,Müller & Söhne,Société Générale d'Électricité,山田製作所,ООО Ромашка,O'Reilly,Ben & Jerry", ",")
	companyTails = []string{"Inc.", "LLC", "GmbH", "S.A.", "Ltd", "Holdings, Inc.", "\"Partners\"", "& Co. KG", "AB", "株式会社", "(in liquidation)", "Group"}
	titles       = []string{"CEO", "CTO", "VP, Sales", "Director of Marketing", "Head of \"Special Projects\"", "Engineer", "Senior Buyer", "Office Manager", "Geschäftsführerin", "Directeur général", "部長", "Sales & Ops", "Owner", "Analyst II", " Consultant "}
	departments  = []string{"Sales", "Marketing", "Finance", "R&D", "Operations", "Legal, Risk", "IT", "HR"}
	streets      = []string{"1 Market Street", "500 Howard St.\nSuite 300", "12, rue de l'Église", "Bahnhofstraße 7", "221B Baker Street", "Calle Mayor 4, 3º izq.", "Floor 9\r\n88 Queens Road \"Central\"", "1 Infinite Loop", "ul. Świętokrzyska 20", "千代田1-1"}
	industries   = []string{"Agriculture", "Banking", "Biotechnology", "Communications", "Construction", "Consulting", "Education", "Electronics", "Energy", "Finance", "Food & Beverage", "Government", "Healthcare", "Insurance", "Manufacturing", "Media", "Retail", "Technology", "Transportation", "Utilities"}
	leadSources  = []string{"Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other"}
	ratings      = []string{"Hot", "Warm", "Cold"}
	salutations  = []string{"Mr.", "Ms.", "Mrs.", "Dr.", "Prof."}
	webHosts     = []string{"www.example.com", "example.org/shop", "sub.domain.example.co.uk", "example.de/ä?q=1&r=\"x\"", "例え.example"}
	subjects     = []string{"Call", "Send Letter", "Send Quote", "Other", "Email: Re: your \"offer\", final", "Follow up – très important", "Demo", "Renewal 🎉", "Rappel"}
	places       = []string{"Room 4", "Zoom", "Café \"Central\", Wien", "HQ, 3rd floor", "https://meet.example.com/abc?x=1,2"}
	bounces      = []string{"550 5.1.1 <user>: Recipient address rejected", "mailbox full", "552 \"over quota\""}
)

var descriptions = []string{
	"Met at the trade show; wants a call back.",
	"Line one\nLine two, with a comma\nLine three \"quoted\"",
	"Windows line ends\r\nsecond line\r\n\r\nfourth line",
	"He said: \"\"twice quoted\"\" and left",
	"  leading and trailing spaces  ",
	"NULL",
	"NA",
	"Ünïcödé — “smart quotes”, ellipsis…, non-breaking\u00a0space, zero\u200bwidth",
	"Emoji: 😀👍🏽🇫🇷👨‍👩‍👧‍👦 end",
	"العربية من اليمين إلى اليسار, then English",
	"Tab\there, backslash \\ and \\n that is no newline",
	"<b>HTML</b> &amp; entities; <script>alert('x')</script>",
	"=SUM(A1:A9)",
	"'; DROP TABLE lead; --",
	"a,b,\"c\",\n\"d\"",
	"Old Mac line end\rnext",
	"日本語の説明文。改行は\nここにあります。",
	"Interested in the annual plan, budget approved for next quarter, decision maker is the VP. Competitors: two. Next step: send the comparison sheet and the references from the same industry.",
	"100% sure_thing\\%",
	"\"",
}

// longText is cut to length for the few descriptions that fill their field.
var longText = func() string {
	var b strings.Builder
	for b.Len() < 40_000 {
		for _, d := range descriptions {
			b.WriteString(d)
			b.WriteByte('\n')
		}
	}
	return b.String()
}()
